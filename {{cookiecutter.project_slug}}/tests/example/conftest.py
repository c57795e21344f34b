from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from service.example import passwords
from service.example.catalogue import Catalogue
from service.example.database import Database
from service.example.install import install
from service.example.tables import metadata
from service.middleware.exception_handlers import problem_handlers, problem_responses
from service.middleware.response_cache import ResponseCacheMiddleware
from service.middleware.sessions import SessionMiddleware
from service.runtime.offload.processes import Processes
from service.runtime.offload.threads import Threads
from service.stores.cache.cache import Cache
from service.stores.redis.clients import RedisClients
from service.stores.sessions.store import SessionStore
from service.upstream.client import Upstream
from service.upstream.metrics import UpstreamMetrics
from tests.example import postgresql

BUDGETS: dict[str, Any] = {
    "connect_timeout_seconds": 10,
    "cache_timeout_seconds": 10,
    "session_timeout_seconds": 10,
}
"""For busy machines: how little time Redis gets is not what is tested here."""


def nobody() -> Upstream:
    """Return what UPSTREAM_URL stands for while it is empty."""
    return Upstream("rates", "", metrics=UpstreamMetrics(CollectorRegistry()))


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    monkeypatch.setattr(passwords, "COST", 2)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    folder = postgresql.binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    with postgresql.server(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    """An open database of each kind, with empty tables."""
    async with Database(database_url) as database:
        async with database.engine.begin() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(table.delete())
        yield database


@pytest.fixture
async def cache(redis_url) -> AsyncIterator[Cache]:
    registry = CollectorRegistry()
    async with (
        RedisClients(redis_url, registry=registry, **BUDGETS) as clients,
        Cache(clients, registry=registry) as cache,
    ):
        yield cache


@pytest.fixture
async def catalogue(database, cache) -> AsyncIterator[Catalogue]:
    """An empty catalogue in each kind of database."""
    async with Catalogue(database=database, cache=cache, upstream=nobody()) as catalogue:
        yield catalogue


@pytest.fixture
async def app(redis_url, tmp_path) -> AsyncIterator[FastAPI]:
    """The example alone, on SQLite; a test that needs `app.state.processes` opens them."""
    registry = CollectorRegistry()
    clients = RedisClients(redis_url, registry=registry, **BUDGETS)
    cache = Cache(clients, registry=registry)
    threads = Threads(registry=registry, size=2)
    processes = Processes(registry=registry, size=1)
    sessions = SessionStore(clients, secret_keys=["k" * 32])
    app = FastAPI(
        title="catalogue",
        version="1.2.3",
        max_body_size=1_048_576,
        exception_handlers=problem_handlers(),
        responses=problem_responses(),
    )
    app.user_middleware = [
        Middleware(ResponseCacheMiddleware, cache=cache, routes=lambda: app.routes),
        Middleware(SessionMiddleware, store=sessions, secure=False),
    ]
    resources: list[Any] = [clients, cache, threads]
    parts = SimpleNamespace(
        resources=resources,
        cache=cache,
        threads=threads,
        processes=processes,
        upstream=nobody(),
        cache_warm_seconds=5,
    )
    install(app, parts, f"sqlite:///{tmp_path}/test.db")
    async with AsyncExitStack() as stack:
        for resource in resources:
            await stack.enter_async_context(resource)
        yield app


NewClient = Callable[[], httpx2.AsyncClient]


@pytest.fixture
async def new_client(app) -> AsyncIterator[NewClient]:
    """Make clients of the example, each with cookies of its own."""
    async with AsyncExitStack() as stack:
        clients = []

        def make() -> httpx2.AsyncClient:
            transport = httpx2.ASGITransport(app=app)
            client = httpx2.AsyncClient(transport=transport, base_url="http://test")
            clients.append(client)
            return client

        yield make
        for client in clients:
            stack.push_async_callback(client.aclose)


@pytest.fixture
def client(new_client: NewClient) -> httpx2.AsyncClient:
    return new_client()
