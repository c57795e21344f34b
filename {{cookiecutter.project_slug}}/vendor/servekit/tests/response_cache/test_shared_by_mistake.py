"""What two requests differ in, and a page was once shared all the same."""

import asyncio
import contextlib
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from servekit import Service, Settings
from servekit.cache import cache_response
from servekit.response_cache import capture
from servekit.response_cache.layer import ResponseCacheMiddleware
from tests.asgi import http_scope
from tests.response_cache.around import KEPT, client_of, is_hit
from tests.response_cache.origin import Origin, caching, worker


@pytest.mark.parametrize("start", [{}, {"tenant": "nobody"}, {"tenant": "nobody", "other": 1}])
@pytest.mark.parametrize("way", ["state", "scope"])
async def test_what_a_middleware_overwrites_is_in_nobodys_page(settings, start, way):
    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield dict(start)

    app = FastAPI(lifespan=lifespan)
    Service(settings).install(app)

    class Tenant:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                name = dict(scope["headers"]).get(b"authorization", b"nobody").decode()
                if way == "state":
                    scope["state"]["tenant"] = name
                else:
                    scope["server"] = (name, 1)
            await self.app(scope, receive, send)

    app.add_middleware(Tenant)

    @app.get("/me", dependencies=[KEPT])
    async def me(request: Request) -> str:
        return str(request.state.tenant if way == "state" else request.scope["server"][0])

    async with client_of(app) as client:
        for _ in range(2):
            for user in ("alice", "bob"):
                answer = await client.get("/me", headers={"authorization": user})
                assert answer.json() == user
                assert not is_hit(answer)


async def test_a_prefix_that_a_client_says_makes_a_page_of_its_own(make_settings):
    app = FastAPI()
    Service(make_settings(Settings, trusted_proxy_hops=1)).install(app)

    @app.get("/{slug}", dependencies=[KEPT])
    async def page(slug: str) -> str:
        return f"page {slug}"

    @app.get("/products/{id}", dependencies=[KEPT])
    async def product(id: str) -> str:  # noqa: A002 - as users do
        return f"product {id}"

    async with client_of(app) as client:
        prefix = {"x-forwarded-prefix": "/products", "x-forwarded-for": "192.0.2.9"}
        for _ in range(2):
            assert (await client.get("/2", headers=prefix)).json() == "page 2"
            assert (await client.get("/products/2")).json() == "product 2"
            assert (await client.get("/2")).json() == "page 2"


async def test_a_slow_client_gets_all_of_a_page_too_long_to_keep(redis_url, monkeypatch):
    monkeypatch.setattr(capture, "CLIENT_SECONDS", 0.1)
    app, size = FastAPI(), 3000

    @app.get("/", dependencies=[KEPT])
    async def long() -> Response:
        async def pieces():
            for _ in range(size // 100):
                yield b"x" * 100

        return StreamingResponse(pieces())

    sent: list[dict[str, Any]] = []

    async def slowly(message):
        await asyncio.sleep(0.2 if len(sent) < 3 else 0)  # longer than who left is waited for
        sent.append(message)

    async with caching(redis_url, app) as (outer, cache):
        layer = ResponseCacheMiddleware(
            app, cache=cache, routes=outer._routes._routes, limit_bytes=1000
        )
        await layer(http_scope(headers=[("host", "a")]), None, slowly)  # type: ignore[arg-type] # not read
    assert sum(len(each.get("body", b"")) for each in sent) == size
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize("fails", [False, True])
async def test_one_run_replaces_a_page_that_is_kept_for_errors_only(redis_url, fails):
    origin = Origin(ttl_seconds=1, stale_seconds=0)
    origin.headers = {"cache-control": "max-age=1, stale-if-error=60"}
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        await asyncio.sleep(1.2)
        origin.delay, origin.status = 0.3, 500 if fails else 200
        answers = await asyncio.gather(*(client.get("/page") for _ in range(20)))
        assert origin.runs == 2
        assert {answer.status_code for answer in answers} == {200}
        if not fails:
            origin.delay = 0
            assert is_hit(await client.get("/page"))


@pytest.mark.parametrize("tag", ["s:{slug!s}", "s:{slug:.3}", "s:{slug}", "{{s}}:{slug}"])
async def test_tags_take_what_templates_take(settings, tag):
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/{slug}", dependencies=[Depends(cache_response(ttl_seconds=60, tags=(tag,)))])
    async def page(slug: str) -> str:
        return slug

    async with client_of(app) as client:
        assert not is_hit(await client.get("/abcdef"))
        assert is_hit(await client.get("/abcdef"))
        await service.cache.invalidate_tag(tag.format(slug="abcdef"))
        assert not is_hit(await client.get("/abcdef"))
