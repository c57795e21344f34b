"""What a doctor sends is read from lines or a browser's recording, or refused with its place."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from servekit.diagnosis.requests_file import Request, read_requests, without_values


def har(*requests):
    return json.dumps({"log": {"entries": [{"request": request} for request in requests]}})


BROWSERS = {
    "method": "POST",
    "url": "https://shop.example/orders?a=1#top",
    "headers": [
        {"name": ":authority", "value": "shop.example"},
        {"name": "Host", "value": "shop.example"},
        {"name": "Content-Length", "value": "9"},
        {"name": "Cookie", "value": "session=1"},
        {"name": "content-type", "value": "application/json"},
    ],
    "postData": {"text": '{"a":"ä"}'},
}


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ("/a\n\n# no\nPOST /b?c=%20\n", [Request("GET", "/a"), Request("POST", "/b?c=%20")]),
        ("\ufeff/a\r\n", [Request("GET", "/a")]),
        (
            har(BROWSERS, {"method": "GET", "url": "http://x"}),
            [
                Request(
                    "POST",
                    "/orders?a=1",
                    (("Cookie", "session=1"), ("content-type", "application/json")),
                    '{"a":"ä"}',
                ),
                Request("GET", "/"),
            ],
        ),
    ],
)
def test_lines_and_recordings_are_read(text, requests, tmp_path):
    file = tmp_path / "requests"
    file.write_text(text, encoding="utf-8")
    assert read_requests(str(file)) == requests


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no request in it"),
        ("# only words\n", "no request in it"),
        ("/a\nGET b\n", "line 2: 'b' is no path, percent-encoded"),
        ("get /b", "line 1: 'get' is no method"),
        ("GET /a HTTP/1.1", "line 1: 'GET /a HTTP/1.1' is no `METHOD /path`"),
        ("/ä", "line 1: '/ä' is no path, percent-encoded"),
        ("{}", "neither lines nor a HAR"),
        ('{"log": {"entries": [{}]}}', "neither lines nor a HAR"),
        (har({**BROWSERS, "method": "G ET"}), "entry 1: 'G ET' is no method"),
        (
            har({**BROWSERS, "headers": [{"name": "a", "value": "b\r\nc: d"}]}),
            "entry 1: 'a' is no header field",
        ),
    ],
)
def test_what_is_none_is_refused_with_its_place(text, why, tmp_path):
    file = tmp_path / "requests"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="requests: ") as refused:
        read_requests(str(file))
    assert str(refused.value) == f"{file}: {why}"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        read_requests(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_bytes_are_requests_or_a_reason(tmp_path, data):
    file = tmp_path / "any"
    file.write_bytes(data)
    told: object = ""
    try:
        told = read_requests(str(file))
    except ValueError as error:
        told = str(error).startswith(f"{file}: ")
    assert told


@pytest.mark.parametrize(
    "request_",
    [
        {"method": None, "url": "http://x/"},
        {"method": "GET", "url": "http://x/", "headers": [{"name": "a", "value": None}]},
        {"method": "GET", "url": "http://x/", "headers": [{"name": "a", "value": 3}]},
        {"method": "POST", "url": "http://x/", "postData": {"text": {"a": 1}}},
    ],
)
def test_a_har_with_what_is_no_text_is_refused(tmp_path, request_):
    file = tmp_path / "x.har"
    file.write_text(json.dumps({"log": {"entries": [{"request": request_}]}}))
    with pytest.raises(ValueError, match="neither lines nor a HAR"):
        read_requests(str(file))


def test_what_a_report_tells_of_an_address_holds_no_secret():
    assert without_values("http://user:pw@host:1/a?b=c") == "http://…@host:1/a?b=…"
    assert without_values("/reset?token=secret&page=2&empty=") == "/reset?token=…&page=…&empty="
    assert without_values("/plain") == "/plain"
