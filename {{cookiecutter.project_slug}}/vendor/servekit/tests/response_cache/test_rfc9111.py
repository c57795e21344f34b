import time
from email.utils import formatdate

import pytest

from servekit.response_cache.rfc9111 import (
    Lifetimes,
    accepted_codings,
    age_of,
    directive_seconds,
    lifetimes,
    matches,
    may_store,
    not_modified,
    parse_cache_control,
    vary_names,
)
from servekit.testing import patience

DEFAULT = Lifetimes(30, 60, 90)
SUNDAY, MONDAY = b"Sun, 15 Nov 2026 10:00:00 GMT", b"Mon, 16 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (b"", {}),
        (b"no-store", {"no-store": None}),
        (b"Max-Age=60 , PUBLIC", {"max-age": "60", "public": None}),
        (b'private="x-user, x-role", max-age="5"', {"private": "x-user, x-role", "max-age": "5"}),
        (b"max-age=1, max-age=2", {"max-age": "1"}),
        (b",,;max-age=3,,", {"max-age": "3"}),
    ],
)
def test_cache_control_is_read_as_it_is_written_in_the_wild(value, directives):
    assert dict(parse_cache_control(value)) == directives


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"", None),
        (b"max-age=60", 60),
        (b"max-age", 0),
        (b"max-age=-1", 0),
        (b"max-age=1.5", 0),
        (b"max-age=soon", 0),
        (b"max-age=99999999999999", 2**31),
        ("max-age=٣".encode(), 0),
    ],
)
def test_seconds_that_make_no_sense_count_as_zero(value, seconds):
    assert directive_seconds(parse_cache_control(value), "max-age") == seconds


@pytest.mark.parametrize(
    ("status", "headers", "stored"),
    [
        (200, {}, True),
        (203, {}, True),
        (301, {}, True),
        (404, {}, True),
        (206, {}, False),
        (302, {}, False),
        (304, {}, False),
        (401, {}, False),
        (429, {}, False),
        (500, {}, False),
        (503, {}, False),
        (200, {"cache-control": "max-age=60"}, True),
        (200, {"cache-control": "no-store"}, False),
        (200, {"cache-control": "max-age=60, No-Store"}, False),
        (200, {"cache-control": "private"}, False),
        (200, {"cache-control": 'private="x-user"'}, False),
        (200, {"cache-control": "no-cache"}, False),
        (200, {"set-cookie": "a=1"}, False),
        (200, {"Set-Cookie": "a=1", "cache-control": "public, max-age=60"}, False),
        (200, {"content-range": "bytes 0-1/2"}, False),
        (200, {"vary": "accept"}, True),
        (200, {"vary": "*"}, False),
        (200, {"vary": "accept, *"}, False),
    ],
)
def test_a_shared_cache_stores_only_what_is_meant_for_all(status, headers, stored):
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]

    assert may_store(status, fields) == stored


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, DEFAULT),
        ({b"cache-control": b"public"}, DEFAULT),
        ({b"cache-control": b"max-age=5"}, Lifetimes(5, 60, 90)),
        ({b"cache-control": b"max-age=5, s-maxage=7"}, Lifetimes(7)),
        ({b"cache-control": b"s-maxage=7, stale-while-revalidate=9"}, Lifetimes(7)),
        ({b"cache-control": b"max-age=nonsense"}, Lifetimes(0, 60, 90)),
        ({b"cache-control": b"max-age=5, stale-while-revalidate=1"}, Lifetimes(5, 1, 90)),
        ({b"cache-control": b"max-age=5, stale-if-error=2"}, Lifetimes(5, 60, 2)),
        ({b"cache-control": b"max-age=5, must-revalidate"}, Lifetimes(5)),
        ({b"cache-control": b"max-age=5, proxy-revalidate, stale-if-error=9"}, Lifetimes(5)),
        ({b"expires": MONDAY, b"date": SUNDAY}, Lifetimes(86_400, 60, 90)),
        ({b"expires": SUNDAY, b"date": MONDAY}, Lifetimes(0, 60, 90)),
        ({b"expires": b"0", b"date": MONDAY}, Lifetimes(0, 60, 90)),
        (
            {b"expires": MONDAY, b"date": SUNDAY, b"cache-control": b"max-age=5"},
            Lifetimes(5, 60, 90),
        ),
    ],
)
def test_what_a_response_says_of_its_lifetime_goes_before_the_default(headers, expected):
    assert lifetimes(headers.items(), default=DEFAULT) == expected


@pytest.mark.parametrize(
    ("if_none_match", "etag", "same"),
    [
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"b", W/"a", "c"', b'W/"a"', True),
        (b"*", b'"a"', True),
        (b'"b"', b'"a"', False),
        (b'"A"', b'"a"', False),
        (b"a", b'"a"', False),
        (b'"x,"a"', b"", False),
        (b'"a"', b"", False),
        (b'"a,b"', b'"a,b"', True),
        (b'"a,b"', b'"b"', False),
    ],
)
def test_entity_tags_are_compared_weakly(if_none_match, etag, same):
    assert matches(if_none_match, etag) == same


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({}, False),
        ({"if_none_match": b'"a"'}, True),
        ({"if_none_match": b'"b"', "if_modified_since": MONDAY}, False),
        ({"if_modified_since": SUNDAY}, True),
        ({"if_modified_since": MONDAY}, True),
        ({"if_modified_since": b"Sat, 14 Nov 2026 10:00:00 GMT"}, False),
        ({"if_modified_since": b"yesterday"}, False),
    ],
)
def test_tags_go_before_dates(fields, same):
    request = {"if_none_match": b"", "if_modified_since": b""} | fields

    assert not_modified(etag=b'"a"', last_modified=SUNDAY, **request) == same


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], 0),
        ([b"7200"], 7200),
        ([b"7200, 0"], 7200),
        ([b"7200", b"0"], 7200),
        ([b"soon"], 0),
        ([b"soon, 7200"], 0),
        ([b"-1"], 0),
    ],
)
def test_of_several_ages_the_first_counts(values, seconds):
    assert age_of([(b"Age", value) for value in values]) == seconds


def test_expires_without_a_date_counts_from_now():
    expires = formatdate(time.time() + 600, usegmt=True).encode()
    for date in ([], [(b"date", b"today")]):
        fresh = lifetimes([(b"expires", expires), *date], default=DEFAULT).fresh
        assert fresh == pytest.approx(600, abs=patience(2))
    assert lifetimes([(b"expires", SUNDAY[:4] + b"15 Nov 2020 10:00:00 GMT")], default=DEFAULT) == (
        Lifetimes(0, 60, 90)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b""),
        (b"gzip, deflate, br, zstd", b"br,gzip,zstd"),
        (b"zstd;q=0.1,GZIP", b"gzip,zstd"),
        (b"gzip;q=0, br", b"br"),
        (b"*", b"br,gzip,zstd"),
        (b"*, br;q=0", b"gzip,zstd"),
        (b"*;q=0, gzip", b"gzip"),
        (b"identity", b""),
        (b"gzip;q=x", b""),
    ],
)
def test_clients_that_take_the_same_compressions_share_a_variant(value, expected):
    assert accepted_codings(value) == expected


def test_repeated_vary_fields_count_together():
    headers = [(b"vary", b"Accept"), (b"Vary", b"accept-language, ")]

    assert vary_names(headers) == {b"accept", b"accept-language"}
