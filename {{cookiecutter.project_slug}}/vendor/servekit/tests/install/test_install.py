"""What a service does to an application when it is put around it, and what it leaves alone."""

import contextlib
import re

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY, Counter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from servekit import Service, ServiceDep, Settings
from servekit.edge.websockets import entering
from servekit.foreign import versions
from servekit.install import Outermost, entrance
from servekit.routing.compiled import CompiledRouter
from servekit.routing.direct import Direct
from servekit.service import TELEMETRY_OFF
from servekit.start.program import exposition, program_of
from servekit.testing.lifespan import Lifespan
from tests.install.broken import broken_application, client


async def test_a_stack_that_is_built_again_holds_what_was_added_meanwhile(service):
    app = broken_application()
    service.install(app)
    app.middleware_stack = app.build_middleware_stack()

    async def mark(request, call_next):
        answer = await call_next(request)
        answer.headers["x-mark"] = "late"
        return answer

    app.user_middleware.insert(0, Middleware(BaseHTTPMiddleware, dispatch=mark))
    app.middleware_stack = app.build_middleware_stack()  # as instrumentation does it
    async with client(app) as ask:
        assert (await ask.get("/nowhere")).headers["x-mark"] == "late"


async def test_the_service_is_found_from_a_mounted_application(service):
    app, inner = FastAPI(), FastAPI()

    @inner.get("/is-it")
    async def is_it(found: ServiceDep) -> bool:
        return found is service

    app.mount("/inner", inner)
    service.install(app)

    async with client(app) as ask:
        assert (await ask.get("/inner/is-it")).json() is True


async def test_without_a_service_the_error_says_what_to_do():
    app = FastAPI()

    @app.get("/")
    async def index(found: ServiceDep) -> bool:
        return bool(found)

    with pytest.raises(RuntimeError, match="install"):
        await httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
        ).get("/")
    with pytest.raises(TypeError, match="install"):
        program_of(app, Settings())


@pytest.mark.parametrize("off", [{"SERVEKIT_FAST_WAYS": "off"}, {}], ids=["switch", "versions"])
async def test_with_the_fast_ways_off_everything_is_answered_by_fastapi(
    service, monkeypatch, off, capfd
):
    monkeypatch.setattr(versions, "told", set())
    for name, value in off.items():
        monkeypatch.setenv(name, value)
    if not off:
        monkeypatch.setitem(versions.TESTED, "fastapi", ("0.1", "0.2"))
    app = broken_application()

    @app.get("/items/{number}")
    async def item(number: int) -> int:
        return number

    service.install(app)

    async with client(app) as ask:
        assert (await ask.get("/items/3")).json() == 3
        assert (await ask.get("/broken")).status_code == 500
        answer = await ask.post("/items/3")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert not isinstance(app.router.middleware_stack, CompiledRouter)
    await assert_answers_and_passes_on(entrance(app))
    told = re.findall(r'(?:\] |")fast_ways_off[ "]', capfd.readouterr().out)
    assert len(told) == 1


async def assert_answers_and_passes_on(serve):
    """Assert that an error is answered, and goes on to whoever stands around and reports it."""
    transport = httpx2.ASGITransport(app=entering(serve))  # as the protocol of a worker does
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as ask:
        with pytest.raises(ValueError, match="hunter2"):
            await ask.get("/broken")
    transport = httpx2.ASGITransport(app=entering(serve), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as ask:
        assert (await ask.get("/broken")).json()["status"] == 500


@pytest.mark.parametrize("telemetry", [{}, {"telemetry": TELEMETRY_OFF}], ids=["on", "off"])
async def test_an_error_in_a_worker_is_answered_and_goes_on(service, telemetry):
    app = broken_application(**telemetry)
    service.install(app)
    await assert_answers_and_passes_on(entrance(app))


async def test_with_the_tested_versions_routes_are_compiled_before_the_first_request(service):
    app = broken_application()

    @app.get("/items/{number}")
    async def item(number: int) -> int:
        return number

    service.install(app)
    program_of(app, service.settings)

    assert isinstance(app.router.middleware_stack, CompiledRouter)
    answers = {entry.path: entry.answer for entry in app.router.middleware_stack.entries}
    assert isinstance(answers["/items/{number}"], Direct)
    assert app.middleware_stack is not None
    assert type(app.middleware_stack) is Outermost  # Starlette's own has nothing to do


@pytest.mark.parametrize("place", ["itself", "mounted", "wrapped", "nested", "late"])
@pytest.mark.parametrize("environment", ["production", "test"])
async def test_tracebacks_are_for_nobody_in_production(place, environment, make_settings):
    settings = make_settings(Settings, environment=environment)
    app, router, inner = FastAPI(debug=place == "itself"), APIRouter(), FastAPI(debug=True)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.mount("/late", inner if place == "late" else FastAPI())
        yield

    app.router.lifespan_context = lifespan
    if place == "mounted":
        app.mount("/inner", inner)
    if place == "wrapped":
        app.mount("/inner", CORSMiddleware(GZipMiddleware(inner)))
    if place == "nested":
        router.mount("/inner", inner)
        app.include_router(router, prefix="/outer")
    Service(settings).install(app)
    if environment == "production":
        with pytest.raises(RuntimeError, match=r"debug=True.*ENVIRONMENT=production.*leave it"):
            async with Lifespan(app):
                pass
        return
    async with Lifespan(app):
        pass


def test_a_counter_of_the_services_own_code_is_exported_and_no_name_comes_twice(service):
    orders = Counter("orders_of_this_test", "Orders.")
    try:
        orders.inc()
        text = exposition(service).decode()
    finally:
        REGISTRY.unregister(orders)
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]

    assert "orders_of_this_test_total 1.0" in text
    assert len(types) == len(set(types))


def test_a_second_service_and_one_that_comes_too_late_are_refused(service):
    app, started = FastAPI(), FastAPI()
    service.install(app)
    started.middleware_stack = started.build_middleware_stack()

    with pytest.raises(RuntimeError, match="already"):
        service.install(app)
    with pytest.raises(RuntimeError, match="before"):
        Service(service.settings).install(started)


@pytest.mark.parametrize("returned", [None, "app", lambda: None])
def test_whatever_else_create_app_returns_is_named(service, returned):
    with pytest.raises(TypeError, match=type(returned).__name__):
        program_of(returned, service.settings)


def test_what_was_put_around_an_application_is_refused_with_the_remedy(service):
    app = FastAPI()
    service.install(app)
    with pytest.raises(TypeError, match=r"GZipMiddleware.*add_middleware"):
        program_of(GZipMiddleware(app), service.settings)  # type: ignore[arg-type] # as some do


async def test_what_a_lifespan_changes_of_the_routes_is_seen(service, monkeypatch):
    inner = APIRouter()

    @inner.get("/gone")
    async def gone() -> str:
        return "here"

    @contextlib.asynccontextmanager
    async def lifespan(app):
        inner.routes[:] = [APIRoute("/new", gone)]  # which tells nobody
        app.state.before.methods = {"POST"}
        app.middleware_stack = Marking(app.middleware_stack)
        yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(inner)

    @app.get("/changed")
    async def changed() -> str:
        return "changed"

    app.state.before = app.routes[-1]
    service.install(app)
    service.parts.clear()
    serve = entrance(app)
    async with Lifespan(serve) as running, client(running) as ask:
        statuses = [(await ask.get(path)).status_code for path in ("/gone", "/new", "/changed")]
        assert statuses == [404, 200, 405]
        assert (await ask.get("/new")).headers["x-marked"] == "yes"


class Marking:
    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send):
        async def marked(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-marked", b"yes")]
            await send(message)

        await self.app(scope, receive, marked)


async def test_an_answer_without_header_fields_is_one(service):
    async def bare(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    app = FastAPI()
    app.mount("/bare", bare)
    service.install(app)

    async with client(app) as ask:
        assert (await ask.get("/bare/")).status_code == 204


async def test_a_405_of_a_mounted_router_names_its_own_methods(service):
    app, inner = FastAPI(), APIRouter()

    @app.get("/items")
    async def items() -> str:
        return "items"

    @inner.post("/items")
    async def add() -> str:
        return "added"

    app.mount("/v2", inner)
    service.install(app)

    async with client(app) as ask:
        assert (await ask.get("/v2/items")).headers["allow"] == "POST"
        assert (await ask.post("/items")).headers["allow"] == "GET"


def test_where_a_tool_replaced_the_entrance_workers_enter_there(service, monkeypatch):
    original = Starlette.__call__

    async def traced(self, scope, receive, send):
        await original(self, scope, receive, send)

    app = FastAPI(telemetry=service.telemetry)
    service.install(app)
    monkeypatch.setattr(Starlette, "__call__", traced)

    assert entrance(app) is app
