"""Cached routes of mounted applications, where and however they are mounted."""

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Host, Mount
from structlog.testing import capture_logs

from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.routing.compiled import compile_router
from servekit.routing.template import route_template
from servekit.scope import SCOPE_KEY
from tests.asgi import call, routes_of
from tests.response_cache.origin import caching


def inner_application(runs):
    inner = FastAPI()

    @inner.get("/items/{number}", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def item(request: Request, number: int, size: int = 1) -> list[str]:
        runs.append(number)
        return [str(request.url), str(number * size)]

    @inner.put("/items/{number}")
    async def write(number: int) -> None: ...

    return inner


def mounted(inner):
    app = FastAPI()
    app.mount("/in", inner)
    return app


def mounted_deep(inner):
    outer = FastAPI()
    outer.mount("/deep/in", inner)
    app = FastAPI()
    app.mount("/out", outer)
    return app


def mounted_by_router(inner):
    router = APIRouter()
    router.mount("/in", inner)
    app = FastAPI()
    app.include_router(router)
    return app


def with_parameters(inner):
    app = FastAPI()
    app.mount("/of/{tenant}", inner)
    return app


def starlette(inner):
    app = FastAPI()
    app.mount("/star", Starlette(routes=[Mount("/in", app=inner)]))
    return app


def by_host(inner):
    app = FastAPI()
    app.router.routes.append(Host("shop.test", inner))
    return app


MOUNTS = {
    mounted: "/in",
    mounted_deep: "/out/deep/in",
    mounted_by_router: "/in",
    with_parameters: "/of/a",
    starlette: "/star/in",
    by_host: "",
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("root_path", ["", "/api/v1"])
@pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: mount.__name__)
async def test_a_cached_route_inside_is_cached_as_outside(redis_url, mount, root_path, compiled):
    runs: list[int] = []
    app = mount(inner_application(runs))
    prefix, headers = root_path + MOUNTS[mount], [("host", "shop.test")]
    router = compile_router(app.router) if compiled else None
    routes = (lambda: router.routes) if router is not None else routes_of(app)

    def below(app):
        async def served(scope, receive, send):
            await app({**scope, "root_path": root_path}, receive, send)

        return served

    async with caching(redis_url, app) as (_, cache):
        layer = below(ResponseCacheMiddleware(app, cache=cache, routes=routes))
        for size, number in (("2", 7), ("3", 7), ("2", 8)):
            plain = await call(
                below(app),
                f"{prefix}/items/{number}",
                headers=headers,
                query_string=f"size={size}".encode(),
            )
            for status in (b"stored", b"hit"):
                answer = await call(
                    layer,
                    f"{prefix}/items/{number}",
                    headers=[*headers, ("cookie", "a=b")],
                    query_string=f"size={size}&x=1".encode(),
                )
                assert answer.body == plain.body
                assert status in answer.headers[b"cache-status"]
        assert len(runs) == 6

        await call(layer, f"{prefix}/items/07", "PUT", headers=headers)
        for number, hit in ((7, False), (8, True)):
            answer = await call(
                layer, f"{prefix}/items/{number}", headers=headers, query_string=b"size=2"
            )
            assert (b"hit" in answer.headers[b"cache-status"]) == hit


async def test_a_hit_inside_has_the_whole_template(redis_url):
    runs: list[int] = []
    app, scopes = mounted_deep(inner_application(runs)), []
    async with caching(redis_url, app) as (layer, _):

        async def noting(scope, receive, send):
            scopes.append(scope)
            await layer(scope, receive, send)

        for _ in range(2):
            await call(noting, "/out/deep/in/items/1")

    assert [route_template(scope) for scope in scopes] == ["/out/deep/in/items/{number}"] * 2


async def test_one_application_mounted_twice_has_pages_of_its_own_at_each_place(redis_url):
    runs: list[int] = []
    app, inner = FastAPI(), inner_application(runs)
    app.mount("/a", inner)
    app.mount("/b", inner)
    async with caching(redis_url, app) as (layer, _):
        texts = [(await call(layer, f"/{place}/items/1")).body for place in "abab"]

    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]
    assert len(runs) == 2


async def test_a_route_that_the_service_cannot_see_says_so_once(redis_url):
    runs: list[int] = []
    app, inner = FastAPI(), inner_application(runs)

    async def wrapped(scope, receive, send):
        await inner(scope, receive, send)

    app.mount("/in", wrapped)
    async with caching(redis_url, app) as (layer, _):

        async def with_service(scope, receive, send):
            await layer({**scope, SCOPE_KEY: object()}, receive, send)

        with capture_logs() as logs:
            for _ in range(3):
                assert (await call(with_service, "/in/items/1")).status == 200

    ignored = [entry for entry in logs if entry["event"] == "cache_response_ignored"]
    assert [entry["path"] for entry in ignored] == ["/in/items/1"]


@pytest.mark.parametrize("way", ["its own", "on the mount"])
async def test_middleware_inside_a_mount_works_and_what_it_reads_is_not_kept(redis_url, way):
    runs: list[int] = []
    app, inner = FastAPI(), inner_application(runs)
    cors = Middleware(CORSMiddleware, allow_origins=["http://a.test", "http://b.test"])
    if way == "its own":
        inner.user_middleware.append(cors)
    mount = Mount("/in", inner, middleware=[cors] if way == "on the mount" else [])
    app.router.routes.append(mount)

    with capture_logs() as logs:
        async with caching(redis_url, app) as (layer, _):
            for origin in ("http://a.test", "http://b.test", "http://c.test"):
                answer = await call(layer, "/in/items/7", headers=[("origin", origin)])
                allowed = answer.headers.get(b"access-control-allow-origin", b"").decode()
                assert allowed == (origin if "c." not in origin else "")

    said = [entry for entry in logs if entry["event"].startswith(("response_not", "cache_resp"))]
    assert len(said) == 1
