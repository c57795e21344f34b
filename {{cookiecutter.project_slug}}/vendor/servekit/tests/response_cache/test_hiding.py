"""A cached route sees what is in its key; what else it asks for by hand is an error that helps."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from servekit.cache.cache import Cache
from servekit.redis.clients import RedisClients
from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.response_cache.view import TOLD_MAX
from servekit.routing.compiled import compile_router
from servekit.throttle import client_network
from tests.asgi import call, routes_of
from tests.redis.patient import patient_clients
from tests.response_cache.origin import is_hit, worker

EVERYTHING: dict[str, Any] = {
    "headers": [("host", "Shop.test:8000"), ("cookie", "user=ada; lang=en"), ("x-a", "1")],
    "query_string": b"user=ada&page=2",
}


def cached(**options):
    return [Depends(cache_response(ttl_seconds=60, **options))]


ways = {"compiled": False}


@pytest.fixture(params=["FastAPI's way", "compiled"], autouse=True)
def _way(request):
    """Routes are found and called in two ways, and each reads the request in its own order."""
    ways["compiled"] = request.param == "compiled"


def uncached(app):
    """The layer without Redis: each request runs its route."""
    compiled = compile_router(app.router) if ways["compiled"] else None
    if compiled is not None:
        compiled.compile_anew()
    cache = Cache(RedisClients("redis://127.0.0.1:1"), enabled=False)
    return ResponseCacheMiddleware(app, cache=cache, routes=routes_of(app))


async def seen(read, **options):
    """What a cached route gets by a read of its request, and what the log says of it."""
    app, found = FastAPI(), []

    @app.get("/page", dependencies=cached(**options), name="page")
    async def page(request: Request) -> int:  # what it answers has a type: it is called directly
        try:
            found.append(read(request))
        except (KeyError, AssertionError):
            found.append(None)
        return 1

    layer = uncached(app)
    with capture_logs() as logs:
        for _ in range(2):
            await call(layer, "/page", **EVERYTHING)
    told = [entry for entry in logs if entry["event"] == "response_not_cached"]
    return found[0], told


REAL = [("host", "Shop.test:8000"), ("cookie", "user=ada; lang=en"), ("x-a", "1")]
READS: list[tuple[Any, Any, str, str]] = [
    (lambda r: r.headers["X-A"], "1", "header 'x-a'", "vary=('x-a',)"),
    (lambda r: r.headers.get("x-b"), None, "header 'x-b'", "vary=('x-b',)"),
    (lambda r: "x-a" in r.headers, True, "header 'x-a'", "vary=('x-a',)"),
    (lambda r: r.headers.getlist("x-a"), ["1"], "header 'x-a'", "vary=('x-a',)"),
    (lambda r: r.headers["cookie"], REAL[1][1], "header 'cookie'", "vary=('cookie',)"),
    (lambda r: r.headers.get("traceparent"), None, "'traceparent'", "vary=('traceparent',)"),
    (lambda r: r.cookies["user"], "ada", "cookie 'user'", "vary=('cookie:user',)"),
    (lambda r: r.cookies.get("user", ""), "ada", "cookie 'user'", "vary=('cookie:user',)"),
    (lambda r: "user" in r.cookies, True, "cookie 'user'", "vary=('cookie:user',)"),
    (lambda r: r.query_params["user"], "ada", "parameter 'user'", "vary=('query:user',)"),
    (lambda r: r.query_params.get("user"), "ada", "parameter 'user'", "vary=('query:user',)"),
    (lambda r: "user" in r.query_params, True, "parameter 'user'", "vary=('query:user',)"),
    (lambda r: r.query_params.getlist("user"), ["ada"], "'user'", "vary=('query:user',)"),
]
WHOLE: list[tuple[Any, Any, str, str]] = [
    (lambda r: list(r.headers.items()), REAL, "A header", "by its name"),
    (lambda r: dict(r.headers), dict(REAL), "A header", "by its name"),
    (lambda r: len(r.headers), 3, "A header", "by its name"),
    (lambda r: dict(r.cookies), {"user": "ada", "lang": "en"}, "cookie", "vary=('cookie',)"),
    (lambda r: {**r.cookies}, {"user": "ada", "lang": "en"}, "cookie", "vary=('cookie',)"),
    (lambda r: bool(r.cookies), True, "cookie", "vary=('cookie',)"),
    (lambda r: dict(r.query_params), {"user": "ada", "page": "2"}, "query", "vary=('query:*',)"),
    (lambda r: str(r.query_params), "user=ada&page=2", "query", "vary=('query:*',)"),
]
BY_SCOPE: list[tuple[Any, Any, str, str]] = [
    (lambda r: r.client.host, "192.0.2.1", "request.client", "middleware"),
    (client_network, "192.0.2.1", "request.client", "middleware"),
    (lambda r: r.session, None, "request.session", "parameter"),
    (lambda r: r.user, None, "request.user", "parameter"),
    (lambda r: r.scope["client"], ("192.0.2.1", 50000), "scope['client']", "middleware"),
    (lambda r: r.get("client"), ("192.0.2.1", 50000), "scope['client']", "middleware"),
    (lambda r: len(r.scope["headers"]), 3, "scope['headers']", "by its name"),
    (lambda r: len(Headers(scope=r.scope)), 3, "scope['headers']", "by its name"),
    (lambda r: r.scope["query_string"], b"user=ada&page=2", "query_string", "query:*"),
    (lambda r: dict(r.scope)["query_string"], b"user=ada&page=2", "scope", "by its name"),
    (lambda r: {**r.scope}["client"], ("192.0.2.1", 50000), "scope", "by its name"),
    (lambda r: dict(r)["http_version"], "1.1", "scope", "by its name"),
]


@pytest.mark.parametrize(("read", "real", "named", "remedy"), [*READS, *WHOLE, *BY_SCOPE])
async def test_who_reads_what_is_not_in_the_key_gets_it_and_one_line_says_why_nothing_is_kept(
    read, real, named, remedy
):
    found, told = await seen(read)

    assert found == real
    [line] = told
    assert named in line["reason"]
    assert remedy in line["remedy"]
    assert re.search(r"test_hiding.py:\d+ in ", line["read_at"])
    assert line["route"] == "/page"
    if "vary=" in remedy:
        vary = re.findall(r"vary=\('(.*)',\)", line["remedy"])
        found, told = await seen(read, vary=vary)
        assert told == []
        if (read, real, named, remedy) not in WHOLE:
            assert found == real


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda r: str(r.url), "http://shop.test:8000/page"),
        (lambda r: str(r.base_url), "http://shop.test:8000/"),
        (lambda r: str(r.url_for("page")), "http://shop.test:8000/page"),
        (lambda r: r.headers["Host"], "shop.test:8000"),
        (lambda r: r.url.scheme, "http"),
        (lambda r: r.method, "GET"),
        (lambda r: r.scope["path"], "/page"),
        (lambda r: r.state.__dict__, {"_state": {}}),
        (lambda r: r.headers.get("accept-encoding"), None),
        (lambda r: r.headers.get("if-none-match"), None),
        (lambda r: r.headers.get("Range"), None),
        (lambda r: r.headers.get("content-type", ""), ""),
    ],
)
async def test_what_is_in_every_key_or_just_absent_is_read_as_ever(read, expected):
    assert await seen(read) == (expected, [])


async def test_what_vary_adds_is_seen_and_nothing_beside_it():
    vary = ("x-a", "cookie:lang", "query:page")

    for read, expected in (
        (lambda r: r.headers["X-A"], "1"),
        (lambda r: r.cookies["lang"], "en"),
        (lambda r: r.query_params.get("page"), "2"),
        (lambda r: r.url.query, "page=2"),
        (lambda r: r.headers["cookie"], "lang=en"),
    ):
        assert await seen(read, vary=vary) == (expected, [])


@pytest.mark.parametrize("name", ["", "*", "query:", "cookie:", "session:user", "body:x"])
def test_a_vary_that_names_no_field_is_refused(name):
    with pytest.raises(ValueError, match="vary="):
        cache_response(ttl_seconds=1, vary=(name,))


async def test_other_routes_of_the_application_read_what_they_like():
    app = FastAPI()

    @app.get("/")
    async def plain(request: Request) -> list[str | None]:
        host = request.client.host if request.client else None
        return [request.cookies["user"], host, request.headers["x-a"], request.query_params["user"]]

    answer = await call(uncached(app), "/", **EVERYTHING)

    assert answer.body == b'["ada","192.0.2.1","1","ada"]'


async def test_a_file_is_served_whole_and_in_parts(redis_url, tmp_path):
    app = FastAPI()
    (tmp_path / "a.txt").write_text("0123456789")

    @app.get("/", dependencies=cached())
    async def page() -> FileResponse:
        return FileResponse(tmp_path / "a.txt")

    async with worker(redis_url, app) as client:
        assert (await client.get("/")).text == "0123456789"
        assert is_hit(await client.get("/"))
        part = await client.get("/", headers={"range": "bytes=2-3"})

    assert (part.status_code, part.text) == (206, "23")


@pytest.mark.parametrize("count", [50])
async def test_parameters_that_no_route_declares_make_no_new_entries(redis_url, count):
    app, runs = FastAPI(), []

    @app.get("/", dependencies=cached())
    async def page(number: int = 1) -> int:
        runs.append(number)
        return number

    async with worker(redis_url, app) as client, patient_clients(redis_url) as clients:
        for number in range(count):
            answer = await client.get(
                f"/?number=7&utm_{number}=x&number_{number}",
                headers={"cookie": f"a={number}", "x-b": str(number)},
            )
            assert answer.json() == 7
        entries = await clients.cache.keys("*cache:e:*")

    assert (len(entries), runs) == (1, [7])


async def test_names_that_clients_choose_fill_no_log():
    app = FastAPI()

    @app.get("/page", dependencies=cached(vary=("query:name",)))
    async def page(request: Request) -> str:
        return request.headers.get(request.query_params["name"], "")

    layer = uncached(app)
    with capture_logs() as logs:
        for number in range(100):
            await call(layer, "/page", query_string=b"name=x-%d" % number)

    assert len(logs) == TOLD_MAX


RETURNED: dict[str, tuple[Any, Any]] = {
    "query": (lambda r: r.query_params, {"user": "ada", "page": "2"}),
    "headers": (lambda r: r.headers, dict(REAL)),
    "cookies": (lambda r: r.cookies, {"user": "ada", "lang": "en"}),
}


@pytest.mark.parametrize("model", [None, dict[str, str], Mapping[str, str]])
@pytest.mark.parametrize("what", RETURNED)
async def test_a_route_that_answers_with_all_there_is_answers_with_all(what, model):
    app = FastAPI()
    read, expected = RETURNED[what]

    @app.get("/page", dependencies=cached(), response_model=model)
    async def page(request: Request) -> Any:
        return read(request)

    for layer in (app, uncached(app)):
        assert json.loads((await call(layer, "/page", **EVERYTHING)).body) == expected
