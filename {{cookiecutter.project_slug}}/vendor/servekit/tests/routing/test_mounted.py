"""What is mounted, however deep and of whatever kind, is the application's to every layer."""

import asyncio
import re
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from starlette.applications import Starlette
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Host, Mount, Route, Router

from servekit import Service, Settings, critical
from servekit.admission.importance import Importances
from servekit.foreign import versions
from servekit.routing.routes import read_routes
from servekit.testing.lifespan import Lifespan
from tests.asgi import http_scope

LIMIT = 1024


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


KINDS: dict[str, Any] = {
    "fastapi": lambda: FastAPI(openapi_url=None),
    "starlette": Starlette,
    "router": Router,
    "api router": APIRouter,
}
places = st.lists(
    st.tuples(st.sampled_from([*KINDS]), st.sampled_from(["/a", "/a/b", "/t/{tenant}", ""])),
    min_size=1,
    max_size=3,
)


def nested(way: list[tuple[str, str]], service: Service) -> tuple[FastAPI, str]:
    """Return an application with a route at the end of some mounts, and the route's template."""
    route: BaseRoute = Route("/items/{number}", length, methods=["POST"])
    template = "/items/{number}"
    for depth, (kind, place) in enumerate(reversed(way)):
        path = place.replace("tenant", f"tenant{depth}")
        inner = KINDS[kind]()
        inner.routes.append(route)
        route = Mount(path, inner)
        template = path + template
    app, included = FastAPI(openapi_url=None), APIRouter()
    service.install(app)
    included.routes.append(route)
    app.include_router(included, prefix="/v1")
    return app, "/v1" + template


def client(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


def new_service(**values: Any) -> Service:
    given: dict[str, Any] = {"_env_file": None, "redis_url": "redis://localhost"}
    return Service(Settings(**given | values))


@pytest.fixture(params=["on", "off"])
def _fast_ways(request, monkeypatch):
    """All of it holds with compiled routes and without."""
    monkeypatch.setenv(versions.SWITCH, request.param)


pytestmark = pytest.mark.usefixtures("_fast_ways")


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places)
async def test_the_route_of_metrics_and_log_lines_has_the_templates_of_its_mounts(way):
    service = new_service()
    app, template = nested(way, service)
    async with client(app) as ask:
        answer = await ask.post(re.sub("[{}]", "", template), content=b"xx")
    await asyncio.sleep(0)  # counted at the end of the loop's turn
    assert (answer.text, {route for _, route, _ in service.requests.series}) == ("2", {template})


async def test_what_no_route_inside_a_mount_answers_has_the_mounts_template():
    service, app = new_service(), FastAPI()
    service.install(app)
    app.mount("/inner/{name}", FastAPI())
    async with client(app) as ask:
        await ask.get("/inner/x/nowhere")
        await ask.get("/nowhere")
    await asyncio.sleep(0)
    assert {route for _, route, _ in service.requests.series} == {"/inner/{name}", ""}


async def test_a_host_is_a_mount_without_a_path():
    service, app = new_service(limit_body_bytes=LIMIT), FastAPI()
    service.install(app)
    inner = FastAPI()
    inner.add_api_route("/own/{name}", length, methods=["PUT"], max_body_size=2 * LIMIT)
    app.routes.append(Host("localhost", inner))
    async with client(app) as ask:
        assert (await ask.put("/own/x", content=b"x" * 2 * LIMIT)).status_code == 200
    await asyncio.sleep(0)
    assert {route for _, route, _ in service.requests.series} == {"/own/{name}"}


def with_limits() -> FastAPI:
    """Return an application with longer limits than the service's at each place that takes one."""
    app, inner = FastAPI(), FastAPI()
    limited = FastAPI(max_body_size=2 * LIMIT)
    router = APIRouter(max_body_size=2 * LIMIT)
    for one in (app, inner):
        one.add_api_route("/own", length, methods=["PUT"], max_body_size=2 * LIMIT)
        one.add_api_route("/own", length, methods=["PATCH"])
    for each in (limited, router, inner):
        each.add_api_route("/plain", length, methods=["PUT"])
    app.mount("/inner", inner)
    inner.mount("/limited", limited)
    inner.include_router(router, prefix="/router")
    app.routes.append(Mount("/mount", Router([Route("/plain", length, methods=["PUT"])])))
    app.routes.append(
        Mount(
            "/limiting",
            Router([Route("/plain", length, methods=["PUT"])]),
            max_body_size=2 * LIMIT,
        )
    )
    app.mount("/wrapped", CORSMiddleware(GZipMiddleware(inner)))
    app.mount("/wrapping", GZipMiddleware(RequestBodyLimitMiddleware(inner, 2 * LIMIT)))
    app.routes.append(Host("wrapped.test", CORSMiddleware(inner)))
    return app


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("PUT", "/own", 2 * LIMIT),
        ("PATCH", "/own", LIMIT),
        ("PUT", "/inner/own", 2 * LIMIT),
        ("PATCH", "/inner/own", LIMIT),
        ("PUT", "/inner/plain", LIMIT),
        ("PUT", "/inner/limited/plain", 2 * LIMIT),
        ("PUT", "/inner/router/plain", 2 * LIMIT),
        ("PUT", "/mount/plain", LIMIT),
        ("PUT", "/limiting/plain", 2 * LIMIT),
        ("PUT", "/wrapped/own", 2 * LIMIT),
        ("PATCH", "/wrapped/own", LIMIT),
        ("PUT", "/wrapped/limited/plain", 2 * LIMIT),
        ("PUT", "/wrapping/plain", 2 * LIMIT),
        ("PUT", "http://wrapped.test/limited/plain", 2 * LIMIT),
    ],
)
async def test_a_limit_of_bodies_holds_where_it_is_given_and_the_services_elsewhere(
    method, path, limit
):
    app = with_limits()
    hosts = ["localhost", "wrapped.test"]
    new_service(limit_body_bytes=LIMIT, allowed_hosts=hosts).install(app)
    async with client(app) as ask:
        for size, status in ((limit, 200), (limit + 1, 413)):
            answer = await ask.request(method, path, content=b"x" * size)
            assert answer.status_code == status, size


class Foreign:
    """An application of another framework, whose routes are not Starlette's."""

    def __init__(self, routes: object) -> None:
        self.routes = routes

    async def __call__(self, scope, receive, send):
        await PlainTextResponse(scope["path"])(scope, receive, send)


@pytest.mark.parametrize("routes", [[object()], {"/": object()}, list, ["/a"]])
async def test_what_another_framework_calls_routes_are_none_of_ours(routes):
    app = FastAPI()
    app.mount("/foreign", Foreign(routes))
    app.mount("/wrapped", CORSMiddleware(Foreign(routes)))
    new_service().install(app)
    async with client(app) as ask:
        for path in ("/foreign/a", "/wrapped/a"):
            for method in ("GET", "POST"):
                assert (await ask.request(method, path)).text == path


async def test_a_mounted_route_is_as_important_as_it_says():
    app, inner = FastAPI(), FastAPI()

    @inner.get("/pay")
    @critical
    async def pay() -> None:
        """Nothing."""

    app.mount("/shop", inner)
    importances = Importances(routes=lambda: read_routes(app))

    assert importances.of(http_scope("/shop/pay")) == "critical"
    assert importances.of(http_scope("/shop/nowhere")) == "normal"


async def test_routes_that_are_added_to_a_mounted_application_later_are_seen():
    service, app, inner = new_service(limit_body_bytes=LIMIT), FastAPI(), FastAPI()
    service.install(app)
    app.mount("/inner", inner)
    async with client(app) as ask:
        assert (await ask.put("/inner/late", content=b"x" * 2 * LIMIT)).status_code == 413
        inner.add_api_route("/late", length, methods=["PUT"], max_body_size=2 * LIMIT)
        assert (await ask.put("/inner/late", content=b"x" * 2 * LIMIT)).status_code == 200


async def test_a_service_of_a_mounted_application_that_nobody_opened_is_refused(redis_url):
    app, outer, inner = FastAPI(), APIRouter(), FastAPI()
    for one in (app, inner):
        new_service(redis_url=redis_url).install(one)
    outer.mount("/inner", inner)
    app.include_router(outer, prefix="/outer")

    with pytest.raises(RuntimeError, match="/outer/inner"):
        async with Lifespan(app):
            pass
    async with Lifespan(inner), Lifespan(app):
        pass
