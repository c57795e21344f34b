"""A cached route answers what it would answer under plain FastAPI, in any order of asking."""

import json
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Query
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import AliasChoices, BaseModel, Field
from starlette.requests import cookie_parser

from servekit.response_cache.key import visible_cookies, visible_path, visible_query
from servekit.response_cache.layer import cache_response
from tests.asgi import call
from tests.response_cache.origin import caching


class Filters(BaseModel):
    q: str = ""
    tags: list[str] = []
    size: int = Field(1, validation_alias=AliasChoices("size", "s"))


class Strict(BaseModel, extra="forbid"):
    q: str = ""


class Visitor(BaseModel):
    lang: str = "en"
    theme: Literal["light", "dark"] = "light"


class Named(BaseModel):
    x_region: str = "-"
    x_list: list[str] = []


def declaring_applications():
    """Applications with one cached route each, `/`, in the styles of FastAPI's guide."""

    async def simple(q: str = "", size: int = 1, tags: Annotated[list[str], Query()] = []):  # noqa: B006
        return [q, size, tags]

    async def renamed(
        given: Annotated[str, Query(alias="q")] = "",
        other: Annotated[str, Query(validation_alias=AliasChoices("s", "size"))] = "",
        region: Annotated[str, Header(alias="X-Region")] = "",
        lang: Annotated[str, Cookie(alias="lang")] = "",
    ):
        return [given, other, region, lang]

    async def headers(
        x_region: Annotated[str | None, Header()] = None,
        x_list: Annotated[list[str] | None, Header()] = None,
        user_agent: Annotated[str, Header()] = "",
        raw_one: Annotated[str, Header(convert_underscores=False)] = "",
    ):
        return [x_region, x_list, user_agent, raw_one]

    async def cookies(lang: Annotated[str, Cookie()] = "", theme: Annotated[str, Cookie()] = ""):
        return [lang, theme]

    async def models(
        filters: Annotated[Filters, Query()],
        visitor: Annotated[Visitor, Cookie()],
        named: Annotated[Named, Header()],
    ):
        return [filters, visitor, named]

    async def strict(filters: Annotated[Strict, Query()]):
        return filters

    async def strict_cookies(filters: Annotated[Strict, Cookie()]):
        return filters

    async def everything(a=Depends(simple), b=Depends(headers), c=Depends(cookies)):  # noqa: B008
        return [a, b, c]

    for route in (simple, renamed, headers, cookies, models, strict, strict_cookies, everything):
        app = FastAPI()
        app.get("/", dependencies=[Depends(cache_response(ttl_seconds=60))])(route)
        yield pytest.param(app, id=route.__name__)


NAMES = st.sampled_from(["q", "size", "s", "tags", "lang", "theme", "given", "utm", ""])
VALUES = st.text(st.sampled_from('ab1 &=;+%"ü,/\\'), max_size=4)
FIELDS = st.sampled_from(["x-region", "x_region", "x-list", "user-agent", "raw_one", "x-other"])
PLAIN = st.text(st.sampled_from("ab1, ;="), max_size=4).map(str.strip)


@st.composite
def requests(draw):
    """A request with parameters, headers and cookies that routes declare, and that none does."""
    pairs = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    query = "&".join(
        f"{quote(name)}={quote(value, safe=draw(st.sampled_from(['', '/;,'])))}"
        for name, value in pairs
    )
    headers = draw(st.lists(st.tuples(FIELDS, PLAIN), max_size=4))
    cookies = draw(st.lists(st.tuples(NAMES, VALUES.filter(lambda text: ";" not in text))))
    for _ in range(draw(st.integers(0, 1))):
        line = "; ".join(f"{name}={value}" for name, value in cookies)
        headers.append(("cookie", line.encode("latin-1").decode("latin-1")))
    return [("host", "t"), *headers], query


@pytest.mark.parametrize("app", list(declaring_applications()))
async def test_each_answer_is_that_of_plain_fastapi(redis_url, app):
    """Whatever was asked before: what is kept for one request answers no other."""
    asked = []

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
    @given(requests())
    def generate(request):
        asked.append(request)

    generate()
    async with caching(redis_url, app) as (layer, _):
        for headers, query in [*asked, *reversed(asked)]:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
            request = {"query_string": query.encode()}
            plain = await call(with_headers(app, raw), "/", **request)
            kept = await call(with_headers(layer, raw), "/", **request)
            assert told(kept) == told(plain), (headers, query)


def told(answer):
    """Status and body; mistakes in any order, as parameters are those of all orders."""
    body = json.loads(answer.body)
    if answer.status == 422:
        body["detail"].sort(key=str)
    return answer.status, body


def with_headers(app, raw):
    async def given_raw(scope, receive, send):
        await app({**scope, "headers": raw}, receive, send)

    return given_raw


@given(st.lists(st.tuples(NAMES, VALUES)), st.sets(NAMES))
def test_a_query_in_the_keys_spelling_says_the_same(pairs, names):
    query = visible_query(urlencode(pairs).encode(), frozenset(names)).decode()

    kept = parse_qsl(query, keep_blank_values=True)
    assert sorted(kept, key=lambda pair: pair[0]) == kept
    for name in {name for name, _ in pairs}:
        expected = [value for other, value in pairs if other == name and name in names]
        assert [value for other, value in kept if other == name] == expected


@given(st.lists(st.sampled_from(["a", "%", "%6", "%61", "%2f", "%2F", "/", "%c3", "%25", "61"])))
def test_a_path_in_the_keys_spelling_says_the_same(parts):
    path = "".join(parts).encode()
    kept = visible_path(path)

    assert unquote_to_bytes(kept) == unquote_to_bytes(path)
    assert visible_path(kept) == kept
    assert kept.count(b"/") == path.count(b"/")


@given(st.text(st.sampled_from('ab=;" \\,\xa0\x85'), max_size=20), st.sets(st.sampled_from("ab")))
def test_cookies_in_the_keys_spelling_say_the_same(header, names):
    kept = visible_cookies(header.encode("latin-1"), frozenset(names)).decode("latin-1")

    expected = {name: value for name, value in cookie_parser(header).items() if name in names}
    assert cookie_parser(kept) == expected


async def test_no_field_an_empty_one_and_two_of_them_are_pages_of_their_own(redis_url):
    app = FastAPI()

    @app.get("/", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page(x_list: Annotated[list[str] | None, Header()] = None) -> list[str] | None:
        return x_list

    async with caching(redis_url, app) as (layer, _):
        for values in ([], [""], ["", ""], ["a, b"], ["a", "b"], ["a,b"]):
            headers = [("host", "t"), *(("x-list", value) for value in values)]
            answer = await call(layer, "/", headers=headers)
            assert json.loads(answer.body) == (values or None)
