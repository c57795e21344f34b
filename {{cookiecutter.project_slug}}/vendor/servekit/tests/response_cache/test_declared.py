"""What cannot be cached as declared is refused at the start, in one line with the remedy."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Request, WebSocket
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBearer
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from servekit import Service, Settings
from servekit.response_cache.declared import declared_by
from servekit.response_cache.layer import cache_response
from servekit.response_cache.routes import UncacheableRoute, policy_of, refuse_uncacheable
from servekit.routing.compiled import compile_router
from servekit.routing.routes import read_routes
from servekit.sessions import SessionDep, UserDep, UserSessionDep
from servekit.sessions.layer import READ_SESSION
from servekit.testing.lifespan import Lifespan
from tests.response_cache.declarations import declarations
from tests.response_cache.ways import DECLARED, declaring

KEPT = Depends(cache_response(ttl_seconds=60))


class Greedy(BaseModel, extra="forbid"):
    x_a: str = ""


class Own(SecurityBase):
    scheme_name = "Own"

    async def __call__(self, request: Request) -> str:
        return request.headers["authorization"]


async def anything(given: str = "") -> str:
    return given


def with_body():
    async def route(text: Annotated[str, Body()] = "") -> str:
        return text

    return route


def with_all_headers():
    async def route(given: Annotated[Greedy, Header()]) -> str:
        return given.x_a

    return route


def depending(annotation):
    async def route(given: object) -> str:
        return str(given)

    route.__annotations__["given"] = annotation
    return route


def routes_of(app, way):
    if way == "read":
        return read_routes(app)
    compiled = compile_router(app.router)
    assert compiled is not None
    return compiled.routes


@pytest.mark.parametrize("way", ["read", "compiled"])
@pytest.mark.parametrize(
    ("route", "named"),
    [
        (with_body(), "body"),
        (with_all_headers(), "every header"),
        (depending(SessionDep), "session"),
        (depending(UserSessionDep), "session"),
        (depending(UserDep), "session"),
        (depending(Annotated[str, Depends(APIKeyCookie(name="sid"))]), "vary=('cookie:sid',)"),
        (depending(Annotated[str, Depends(APIKeyQuery(name="key"))]), "vary=('query:key',)"),
        (depending(Annotated[str, Depends(APIKeyHeader(name="X-Key"))]), "vary=('x-key',)"),
        (depending(Annotated[str, Depends(HTTPBearer(auto_error=False))]), "('authorization',)"),
        (depending(Annotated[str, Depends(HTTPBearer().__call__)]), "('authorization',)"),
        (depending(Annotated[str, Depends(Own())]), "vary=('authorization',)"),
    ],
)
@pytest.mark.parametrize("inside", ["application", "router", "mounted", "mounted twice"])
def test_each_mistake_is_one_line_that_names_route_and_remedy(inside, route, named, way):
    app = FastAPI()
    path = {"application": "/page", "router": "/in/page"}.get(inside, "/at/page")
    if inside == "application":
        app.get("/page", dependencies=[KEPT])(route)
    elif inside == "router":
        router = APIRouter()
        router.get("/page")(route)
        app.include_router(router, prefix="/in", dependencies=[KEPT])
    else:
        inner = FastAPI()
        inner.get("/page", dependencies=[KEPT])(route)
        app.mount("/at", inner)
        if inside == "mounted twice":
            app.mount("/at", inner)

    with pytest.raises(UncacheableRoute) as caught:
        refuse_uncacheable(routes_of(app, way), READ_SESSION)

    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"GET {path}: ")
    assert named in lines[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("beside", [[], ["GET"]])
def test_only_a_get_is_cached(method, beside):
    app = FastAPI()
    app.api_route("/page", methods=[method, *beside], dependencies=[KEPT])(anything)

    with pytest.raises(UncacheableRoute, match=f"for GET, not for {method}"):
        refuse_uncacheable(read_routes(app))


def test_nor_is_a_websocket():
    app = FastAPI()

    @app.websocket("/ws", dependencies=[KEPT])
    async def talk(websocket: WebSocket) -> None: ...

    with pytest.raises(UncacheableRoute, match="WebSocket /ws"):
        refuse_uncacheable(read_routes(app))


def test_a_policy_that_was_not_called_is_refused():
    app = FastAPI()

    @app.get("/page", dependencies=[Depends(cache_response)])
    async def page() -> None: ...

    with pytest.raises(UncacheableRoute, match=r"^GET /page: .* lacks the call"):
        refuse_uncacheable(read_routes(app))


def test_a_tag_that_names_no_parameter_of_the_path_is_refused():
    app = FastAPI()
    policy = cache_response(ttl_seconds=60, tags=("all", "page:{id}", "page:{number}"))
    app.get("/page/{number}", dependencies=[Depends(policy)])(anything)

    with pytest.raises(UncacheableRoute, match=r"the tag 'page:\{id\}' names 'id'"):
        refuse_uncacheable(read_routes(app))


def test_every_mistake_of_an_application_is_told_at_once():
    app = FastAPI()
    app.post("/a", dependencies=[KEPT])(anything)
    app.get("/b", dependencies=[KEPT])(depending(UserDep))
    app.get("/good", dependencies=[KEPT])(anything)

    with pytest.raises(UncacheableRoute) as caught:
        refuse_uncacheable(read_routes(app), READ_SESSION)

    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["POST /a", "GET /b"]


@pytest.mark.parametrize("position", DECLARED)
def test_what_is_in_the_key_is_not_refused_and_a_scheme_without_it_is(position):
    for name, (dependency, vary) in declarations().items():
        refuse_uncacheable(read_routes(declaring(position, dependency, vary)), READ_SESSION)
        if vary:
            with pytest.raises(UncacheableRoute, match="vary="):
                refuse_uncacheable(read_routes(declaring(position, dependency, ())))
        assert name


def test_a_service_does_not_start_with_such_a_route(make_settings):
    app = FastAPI()
    Service(make_settings(Settings)).install(app)
    app.post("/page", dependencies=[KEPT])(anything)

    with pytest.raises(UncacheableRoute, match="POST /page"):
        app.build_middleware_stack()


async def test_a_service_does_not_start_with_one_that_its_lifespan_adds(make_settings):
    app = FastAPI()

    async def add_route() -> None:
        app.post("/page", dependencies=[KEPT])(anything)

    app.router.add_event_handler("startup", add_route)
    Service(make_settings(Settings)).install(app)

    with pytest.raises(UncacheableRoute, match="POST /page"):
        async with Lifespan(app):
            pass


@pytest.mark.parametrize(
    ("dependencies", "policy", "reach"),
    [
        ([], {}, "public"),
        ([], {"vary": ("accept-language",)}, "public"),
        ([], {"vary": ("x-tenant",)}, "private"),
        ([], {"vary": ("x-lang",), "cdn_seconds": 60}, "public"),
        ([Depends(APIKeyHeader(name="x-api-key"))], {"vary": ("x-api-key",)}, "private"),
        (
            [Depends(APIKeyHeader(name="x-api-key"))],
            {"vary": ("x-api-key",), "cdn_seconds": 60},
            "private",
        ),
        ([], {"vary": ("cookie:lang",)}, "private"),
    ],
)
def test_caches_outside_may_share_only_what_no_key_says_who_asks(dependencies, policy, reach):
    app = FastAPI()
    cached = Depends(cache_response(ttl_seconds=60, **policy))

    @app.get("/", dependencies=[cached, *dependencies])
    async def page() -> str:
        return "page"

    [entry] = [entry for entry in read_routes(app).entries if entry.path == "/"]
    found = policy_of(entry)
    assert found is not None
    personal = declared_by(entry.dependant, found).is_personal
    assert ("private" if personal else "public") == reach
