"""A cached route sees what is in its key; what else it asks for by hand is an error that helps."""

import re
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse

from servekit.cache.cache import Cache
from servekit.redis.clients import RedisClients
from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.response_cache.view import HiddenField
from tests.asgi import call, routes_of
from tests.redis.patient import patient_clients
from tests.response_cache.origin import is_hit, worker

EVERYTHING: dict[str, Any] = {
    "headers": [("host", "Shop.test:8000"), ("cookie", "user=ada; lang=en"), ("x-a", "1")],
    "query_string": b"user=ada&page=2",
}


def cached(**options):
    return [Depends(cache_response(ttl_seconds=60, **options))]


def uncached(app):
    """The layer without Redis: each request runs its route."""
    cache = Cache(RedisClients("redis://127.0.0.1:1"), enabled=False)
    return ResponseCacheMiddleware(app, cache=cache, routes=routes_of(app))


async def seen(read, **options):
    """What a cached route gets by a read of its request."""
    app, found = FastAPI(), []

    @app.get("/page", dependencies=cached(**options), name="page")
    async def page(request: Request) -> None:
        found.append(read(request))

    await call(uncached(app), "/page", **EVERYTHING)
    return found[0]


@pytest.mark.parametrize(
    ("read", "named", "remedy"),
    [
        (lambda r: r.headers["X-Secret"], "header 'x-secret'", "vary=('x-secret',)"),
        (lambda r: r.headers.get("x-a"), "header 'x-a'", "vary=('x-a',)"),
        (lambda r: "x-a" in r.headers, "header 'x-a'", "vary=('x-a',)"),
        (lambda r: r.headers.getlist("x-a"), "header 'x-a'", "vary=('x-a',)"),
        (lambda r: r.headers["cookie"], "header 'cookie'", "vary=('cookie',)"),
        (lambda r: r.headers["traceparent"], "header 'traceparent'", "vary=('traceparent',)"),
        (lambda r: r.cookies["user"], "cookie 'user'", "vary=('cookie:user',)"),
        (lambda r: r.cookies.get("user", ""), "cookie 'user'", "vary=('cookie:user',)"),
        (lambda r: "user" in r.cookies, "cookie 'user'", "vary=('cookie:user',)"),
        (lambda r: r.query_params["user"], "parameter 'user'", "vary=('query:user',)"),
        (lambda r: r.query_params.get("user"), "parameter 'user'", "vary=('query:user',)"),
        (lambda r: "user" in r.query_params, "parameter 'user'", "vary=('query:user',)"),
        (lambda r: r.query_params.getlist("user"), "parameter 'user'", "vary=('query:user',)"),
        (lambda r: r.client, "request.client", "drop its cache_response"),
        (lambda r: r.session, "request.session", "drop its cache_response"),
    ],
)
async def test_to_read_a_hidden_field_is_an_error_that_names_it_and_the_remedy(read, named, remedy):
    with pytest.raises(HiddenField) as caught:
        await seen(read)

    message = str(caught.value)
    assert named in message
    assert remedy in message
    assert "GET /page" in message
    assert "\n" not in message
    if "vary=" in remedy:
        vary = re.findall(r"vary=\('(.*)',\)", remedy)
        await seen(read_or_absent(read), vary=vary)


def read_or_absent(read):
    def try_to_read(request):
        try:
            return read(request)
        except KeyError:
            return None

    return try_to_read


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda r: str(r.url), "http://shop.test:8000/page"),
        (lambda r: str(r.base_url), "http://shop.test:8000/"),
        (lambda r: str(r.url_for("page")), "http://shop.test:8000/page"),
        (lambda r: r.headers["Host"], "shop.test:8000"),
        (lambda r: r.url.scheme, "http"),
        (lambda r: r.method, "GET"),
        (lambda r: dict(r.headers), {"host": "shop.test:8000"}),
        (lambda r: list(r.headers.items()), [("host", "shop.test:8000")]),
        (lambda r: dict(r.cookies), {}),
        (lambda r: r.query_params.multi_items(), []),
        (lambda r: r.headers.get("accept-encoding"), None),
        (lambda r: r.headers.get("if-none-match"), None),
        (lambda r: r.headers.get("Range"), None),
        (lambda r: r.headers.get("content-type", ""), ""),
    ],
)
async def test_what_is_in_every_key_or_just_absent_is_read_as_ever(read, expected):
    assert await seen(read) == expected


async def test_what_vary_adds_is_seen_and_nothing_beside_it():
    vary = ("x-a", "cookie:lang", "query:page")

    assert await seen(lambda r: r.headers["X-A"], vary=vary) == "1"
    assert await seen(lambda r: dict(r.cookies), vary=vary) == {"lang": "en"}
    assert await seen(lambda r: r.url.query, vary=vary) == "page=2"
    assert await seen(lambda r: r.headers["cookie"], vary=vary) == "lang=en"
    assert await seen(lambda r: r.cookies, vary=("cookie",)) == {"user": "ada", "lang": "en"}
    assert await seen(lambda r: dict(r.query_params), vary=("query:*",)) == {
        "page": "2",
        "user": "ada",
    }


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
