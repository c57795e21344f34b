"""The service's parts open before the application's own lifespan, and close after it."""

import contextlib

import pytest
from fastapi import APIRouter, FastAPI

from servekit import Service
from servekit.testing.lifespan import Lifespan
from tests.asgi import call


class Part(contextlib.AbstractAsyncContextManager["Part"]):
    def __init__(self, name, seen, *, fails=False):
        self.name, self.seen, self.fails = name, seen, fails

    async def __aenter__(self):
        if self.fails:
            raise OSError("refused")
        self.seen.append(f"open {self.name}")
        return self

    async def __aexit__(self, *_):
        self.seen.append(f"close {self.name}")


class Draining:
    """Notes when readiness is said."""

    def __init__(self, seen):
        self.seen = seen
        self.active = False

    def set_ready(self):
        self.seen.append("ready")


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def service(settings, seen):
    service = Service(settings)
    service.parts.clear()
    service.draining = Draining(seen)  # type: ignore[assignment] # all that is asked of it here
    return service


def lifespan_of(name, seen, **options):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with Part(name, seen, **options):
            yield {name: f"state of {name}"}

    return lifespan


async def test_parts_open_first_then_the_applications_lifespans_then_all_is_ready(service, seen):
    app = FastAPI(lifespan=lifespan_of("application", seen))
    service.install(app)
    service.add(Part("one", seen))
    app.include_router(APIRouter(lifespan=lifespan_of("router", seen)))
    service.add(Part("two", seen))
    async with Lifespan(app):
        seen.append("serve")
    assert seen == [
        "open one",
        "open two",
        "open application",
        "open router",
        "ready",
        "serve",
        "close router",
        "close application",
        "close two",
        "close one",
    ]


async def test_what_is_open_is_closed_when_a_later_part_fails(service, seen):
    app = FastAPI(lifespan=lifespan_of("application", seen))
    service.install(app)
    service.add(Part("one", seen))
    service.add(Part("two", seen, fails=True))
    with pytest.raises(OSError, match="refused"):
        async with Lifespan(app):
            seen.append("serve")
    assert seen == ["open one", "close one"]


async def test_parts_are_closed_when_the_applications_own_lifespan_fails(service, seen):
    app = FastAPI(lifespan=lifespan_of("application", seen, fails=True))
    service.install(app)
    service.add(Part("one", seen))
    with pytest.raises(OSError, match="refused"):
        async with Lifespan(app):
            seen.append("serve")
    assert seen == ["open one", "close one"]


async def test_the_state_that_lifespans_yield_reaches_requests(settings, seen):
    app = FastAPI(lifespan=lifespan_of("application", seen))
    Service(settings).install(app)
    states = []

    async def note(scope, receive, send):
        states.append(scope["state"]["application"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app.mount("/note", note)
    async with Lifespan(app) as running:
        await call(running, "/note/", headers=[("host", "localhost")])
    assert states == ["state of application"]
