"""An application under its real layers, in the process of the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import httpx2
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from starlette.types import ASGIApp

from servekit.configuration.settings import Settings
from servekit.configuration.variables import variables_of
from servekit.event_log import LEVELS
from servekit.log_lines import render_json
from servekit.logs import write_events
from servekit.service import Service
from servekit.sessions.cookie import SessionCookie
from servekit.testing.lifespan import Lifespan
from servekit.testing.speed import PATIENT_WITH_REDIS

AnySettings = TypeVar("AnySettings", bound=Settings)

FOR_TESTS: dict[str, Any] = PATIENT_WITH_REDIS | {
    "environment": "test",
    # What Starlette's TestClient and FastAPI's documentation of async tests call a service.
    "allowed_hosts": ["localhost", "127.0.0.1", "[::1]", "testserver", "test"],
    # For busy machines: what is shed is not what is tested.
    "pressure_loop_lag_ms": 0,
    "loop_stall_ms": 0,
    "offload_processes": 1,
}


class MakeSettings(Protocol):
    """Makes settings for tests of a service's own class, with the values given."""

    def __call__(self, kind: type[AnySettings], **values: Any) -> AnySettings: ...


@pytest.fixture
def make_settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    """Make settings: the test's Redis, wide time limits, nothing of your environment or `.env`."""

    def make(kind: type[AnySettings], **values: Any) -> AnySettings:
        for name in variables_of(kind, os.environ):
            monkeypatch.delenv(name)
        given = {"_env_file": None, "redis_url": redis_url}
        return kind(**FOR_TESTS | given | values)

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """The settings of every service; define your own fixture for those of a subclass."""
    return make_settings(Settings)


@pytest_asyncio.fixture
async def running_app(app: FastAPI) -> AsyncIterator[ASGIApp]:
    """The application of your fixture `app`, between its start and its end."""
    write_events(LEVELS["debug"], render_json)
    async with Lifespan(app) as running:
        yield running


@pytest.fixture
def service(app: FastAPI, running_app: ASGIApp) -> Service:  # noqa: ARG001 - it opens the parts
    """The service of `app`, with all its parts open."""
    installed: Service = app.state.servekit
    return installed


NewClient = Callable[[], httpx2.AsyncClient]
"""What `new_client` gives: each call makes a client."""


@pytest_asyncio.fixture
async def new_client(running_app: ASGIApp, service: Service) -> AsyncIterator[NewClient]:
    """Make clients of the application, each with cookies of its own.

    They see what a client over the network sees: an error is an answer, not an exception.
    """
    async with AsyncExitStack() as stack:
        clients: list[httpx2.AsyncClient] = []

        def make() -> httpx2.AsyncClient:
            transport = httpx2.ASGITransport(app=running_app, raise_app_exceptions=False)
            url = allowed_url(service.settings)
            clients.append(httpx2.AsyncClient(transport=transport, base_url=url))
            return clients[-1]

        yield make
        for client in clients:
            stack.push_async_callback(client.aclose)


@pytest.fixture
def client(new_client: NewClient) -> httpx2.AsyncClient:
    """One client of the application."""
    return new_client()


def allowed_url(settings: Settings) -> str:
    """Return an address whose host ALLOWED_HOSTS allows, and that secure cookies go to."""
    hosts = [host.replace("*.", "www.") for host in settings.allowed_hosts if host != "*"]
    return f"{'https' if settings.production else 'http'}://{(hosts or ['localhost'])[0]}"


class LogIn(Protocol):
    """Logs a client in as a user and returns the client; `fields` are the session's."""

    async def __call__(
        self, client: httpx2.AsyncClient, user_id: str, **fields: Any
    ) -> httpx2.AsyncClient: ...


@pytest.fixture
def log_in(service: Service) -> LogIn:
    """Log a client in without a password: a session in the store, and its cookie.

    It works for clients of `start_service` too, as that has the same Redis and SECRET_KEY.
    """
    store = service.sessions
    cookie = SessionCookie(store.signer, secure=service.settings.production)

    async def log_in(client: httpx2.AsyncClient, user_id: str, **fields: Any) -> httpx2.AsyncClient:
        changes = {name: orjson.dumps(value) for name, value in fields.items()}
        token = await store.login(None, user_id, changes, device="test")
        # As an answer would hand it over: a second cookie of a later login must replace it.
        request = httpx2.Request("GET", client.base_url)
        answer = httpx2.Response(200, headers=[cookie.set(token)], request=request)
        client.cookies.extract_cookies(answer)
        return client

    return log_in
