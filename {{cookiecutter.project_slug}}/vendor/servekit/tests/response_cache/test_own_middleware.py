"""Middleware of the application's own runs for every request, and sees it as it came."""

import asyncio
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from structlog.testing import capture_logs

from servekit import Service
from servekit.cache import cache_response
from servekit.sessions import SessionDep
from servekit.sessions.layer import load_session
from tests.response_cache.around import KEPT, AccessLog, client_of, is_hit, not_cached

TENANT: ContextVar[str] = ContextVar("tenant", default="")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


@pytest.fixture
def app(settings) -> FastAPI:
    app = FastAPI()
    Service(settings).install(app)
    return app


async def test_a_middleware_sees_each_request_as_it_came_and_pages_are_kept(app: FastAPI):
    lines: list[Any] = []
    app.add_middleware(AccessLog, lines=lines)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    with capture_logs() as logs:
        async with client_of(app) as client:
            for agent, hit in (("one", False), ("two", True), ("three", True)):
                url = f"/page?utm={agent}"
                answer = await client.get(url, headers={"user-agent": agent})
                assert is_hit(answer) == hit

    assert lines == [
        ("/page", f"utm={agent}", "192.0.2.7", agent.encode(), 200)
        for agent in ("one", "two", "three")
    ]
    assert not_cached(logs) == []


async def test_who_is_kept_out_is_kept_out_of_kept_pages_too(app: FastAPI):
    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        if request.headers.get("authorization") != "Bearer good":
            return Response(status_code=401)
        return await call_next(request)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    @app.get("/for-cdn", dependencies=[Depends(cache_response(ttl_seconds=60, cdn_seconds=60))])
    async def for_cdn() -> str:
        return "page"

    good = {"authorization": "Bearer good"}
    async with client_of(app) as client:
        assert (await client.get("/page")).status_code == 401
        assert (await client.get("/page", headers=good)).text == '"page"'
        answer = await client.get("/page", headers=good)
        assert is_hit(answer)
        assert (await client.get("/page")).status_code == 401
        # Caches outside do not know of the guard.
        assert answer.headers["cache-control"] == "private, no-cache"
        again = {**good, "if-none-match": answer.headers["etag"]}
        assert (await client.get("/page", headers=again)).status_code == 304
        shared = await client.get("/for-cdn", headers=good)
        assert shared.headers["cache-control"].startswith("public")


async def test_cors_answers_on_top_of_kept_pages(app: FastAPI):
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.test", "https://b.test"])

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    async with client_of(app) as client:
        for origin, hit in (("https://a.test", False), ("https://b.test", True), ("", True)):
            answer = await client.get("/page", headers={"origin": origin} if origin else {})
            assert is_hit(answer) == hit
            assert answer.headers.get("access-control-allow-origin", "") == origin
            assert answer.headers["cache-control"] == "public, max-age=60"
        refused = await client.get("/page", headers={"origin": "https://c.test"})
        assert "access-control-allow-origin" not in refused.headers
        asked = {"origin": "https://a.test", "access-control-request-method": "GET"}
        assert (await client.options("/page", headers=asked)).status_code == 200


async def test_a_context_variable_that_a_middleware_sets_is_in_no_key(app: FastAPI):
    @app.middleware("http")
    async def set_tenant(request: Request, call_next: Any) -> Any:
        REQUEST_ID.set(request.headers.get("x-request-id", ""))  # for logs, shapes no answer
        if tenant := request.headers.get("x-tenant"):
            TENANT.set(tenant)
        return await call_next(request)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return f"page of {TENANT.get()}"

    with capture_logs() as logs:
        async with client_of(app) as client:
            for tenant in ("a", "b", "", "b", ""):
                headers = {"x-tenant": tenant} if tenant else {}
                # In a context of its own, as servers have it.
                answer = await asyncio.create_task(client.get("/page", headers=headers))
                assert answer.json() == f"page of {tenant}"
            assert is_hit(answer)

    assert [entry["reason"] for entry in not_cached(logs)] == [
        "The context variable 'tenant', which a middleware sets, is not in its key"
    ]


async def test_a_dependency_of_all_routes_may_read_more_than_the_key_and_nothing_is_kept(settings):
    seen = []

    async def note(request: Request) -> None:
        assert request.client is not None
        seen.append((request.client.host, request.headers["user-agent"]))

    app = FastAPI(dependencies=[Depends(note)])
    Service(settings).install(app)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    with capture_logs() as logs:
        async with client_of(app) as client:
            for agent in ("one", "two"):
                answer = await client.get("/page", headers={"user-agent": agent})
                assert answer.status_code == 200
                assert not is_hit(answer)

    assert seen == [("192.0.2.7", "one"), ("192.0.2.7", "two")]
    [told] = not_cached(logs)
    assert "request.client" in told["reason"]
    assert "middleware" in told["remedy"]
    assert "test_own_middleware.py" in told["read_at"]


async def test_a_middleware_that_reads_the_session_keeps_no_page_from_being_kept(app: FastAPI):
    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        session = await load_session(request)
        answer = await call_next(request)
        answer.headers["x-user"] = session.user_id or ""
        return answer

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    @app.get("/mine", dependencies=[KEPT])
    async def mine(request: Request) -> str:
        return (await load_session(request)).user_id or "nobody"

    @app.get("/login/{user}")
    async def log_in(user: str, session: SessionDep) -> None:
        await session.login(user)

    async with client_of(app) as client:
        for turn, user in enumerate(("ada", "eve")):
            await client.get(f"/login/{user}")
            answer = await client.get("/page")
            assert is_hit(answer) == bool(turn)
            assert answer.headers["x-user"] == user
            assert answer.headers["cache-control"] == "private, no-cache"
            assert [(await client.get("/mine")).json() for _ in range(2)] == [user] * 2
        client.cookies.clear()
        assert (await client.get("/mine")).json() == "nobody"


async def test_starlettes_sessions_do_not_keep_pages_from_being_kept(app: FastAPI):
    app.add_middleware(SessionMiddleware, secret_key="k")

    @app.get("/set/{user}")
    async def set_user(request: Request, user: str) -> None:
        request.session["user"] = user

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return "page"

    @app.get("/mine", dependencies=[KEPT])
    async def mine(request: Request) -> str:
        return str(request.session.get("user"))

    async with client_of(app) as client:
        for turn, user in enumerate(("ada", "eve")):
            await client.get(f"/set/{user}")
            assert is_hit(await client.get("/page")) == bool(turn)
            assert (await client.get("/mine")).json() == user


async def test_after_a_hit_a_middleware_finds_which_route_answers(app: FastAPI):
    found = []

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        route = request.scope["route"]
        names = (route.path, route.name, request.scope["endpoint"].__name__)
        found.append((*names, request.path_params, sorted(route.methods)))
        return answer

    @app.get("/items/{number}", dependencies=[KEPT])
    async def item(number: int) -> int:
        return number

    async with client_of(app) as client:
        for _ in range(2):
            await client.get("/items/7")

    assert found == [("/items/{number}", "item", "item", {"number": "7"}, ["GET"])] * 2


async def test_what_a_route_leaves_in_the_state_a_middleware_finds_when_it_ran(app: FastAPI):
    found = []

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        found.append(getattr(request.state, "rows", None))
        return answer

    @app.get("/page", dependencies=[KEPT])
    async def page(request: Request) -> int:
        request.state.rows = 3
        return int(request.state.rows)

    async with client_of(app) as client:
        for _ in range(2):
            assert (await client.get("/page")).json() == 3

    assert found == [3, None]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("vary", ["cookie of its own", "vary="])
@pytest.mark.parametrize("first", [True, False])
async def test_the_length_of_a_page_that_depends_on_cookies_tells_other_sites_nothing(
    app: FastAPI, own, vary, first
):
    """BREACH: a guess in the URL stands beside what the cookie stands for."""
    if own:
        app.add_middleware(CORSMiddleware, allow_origins=["https://a.test"])
    kept = cache_response(ttl_seconds=60, vary=("cookie",) if vary == "vary=" else ())

    @app.get("/page", dependencies=[Depends(kept)])
    async def page(q: str, user: Annotated[str, Cookie()] = "") -> str:
        return f"{q} {user}" * 500

    async with client_of(app) as client:
        asked = {"cookie": "user=secret", "accept-encoding": "gzip"}
        sites = ["cross-site", "same-origin"]
        for site in sites if first else reversed(sites):
            headers = asked | {"sec-fetch-site": site}
            answer = await client.get("/page?q=sec", headers=headers)
            if site == "cross-site":
                assert "content-encoding" not in answer.headers
