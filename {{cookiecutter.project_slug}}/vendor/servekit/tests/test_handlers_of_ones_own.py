"""A handler of an application's own goes before ours, for what derives from its class too."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError as PoolFull
from starlette.middleware.base import BaseHTTPMiddleware

from servekit import Service, Settings
from servekit.sql import Database
from servekit.sql.errors import DatabaseUnavailable, unavailable
from servekit.testing.lifespan import Lifespan
from servekit.upstream.errors import UpstreamTimeout, UpstreamUnavailable

LOCKED = unavailable(OperationalError)("SELECT 1", None, Exception("locked"))


async def told(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(type(error).__name__, 299)


async def status_of(app: FastAPI, path: str) -> int:
    async with Lifespan(app) as serve:
        transport = httpx2.ASGITransport(serve, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get(path)).status_code


@pytest.fixture
def app_of(make_settings, tmp_path):
    """Return a function that makes an application, and a service with a database for it."""

    def make() -> tuple[FastAPI, Service]:
        service = Service(make_settings(Settings))
        service.add(Database(f"sqlite:///{tmp_path}/a.db"))
        return FastAPI(telemetry=service.telemetry), service

    return make


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        *((kind, LOCKED, 299) for kind in (OperationalError, DBAPIError, SQLAlchemyError)),
        (DatabaseUnavailable, LOCKED, 299),
        *((kind, PoolFull(), 299) for kind in (PoolFull, SQLAlchemyError)),
        (OperationalError, PoolFull(), 503),
        (UpstreamUnavailable, UpstreamTimeout(), 299),
        (UpstreamTimeout, UpstreamUnavailable(), 503),
        (Exception, LOCKED, 503),
        (None, LOCKED, 503),
    ],
)
async def test_it_is_for_subclasses_too(app_of, kind, error, status, late):
    app: FastAPI
    app, service = app_of()
    if kind is not None and not late:
        app.add_exception_handler(kind, told)
    service.install(app)
    if kind is not None and late:
        app.add_exception_handler(kind, told)

    @app.get("/")
    async def fail() -> None:
        raise error

    assert await status_of(app, "/") == status


class UsedUpError(Exception):
    pass


class SoldOutError(UsedUpError):
    pass


async def test_a_part_may_handle_a_status(app_of):
    app, service = app_of()
    service.exception_handlers[404] = told
    service.install(app)
    assert await status_of(app, "/nowhere") == 299


async def test_the_status_of_a_class_of_ones_own_stays_beside_a_handler_of_its_base(app_of):
    app: FastAPI
    app, service = app_of()
    service.install(app)
    service.statuses[SoldOutError] = 409
    app.add_exception_handler(UsedUpError, told)

    @app.get("/")
    async def fail() -> None:
        raise SoldOutError

    assert await status_of(app, "/") == 409


@pytest.mark.parametrize(("error", "status"), [(UsedUpError(), 299), (HTTPException(402), 299)])
async def test_a_mounted_application_leaves_the_outer_ones_handlers_in_force(app_of, error, status):
    inner = FastAPI()

    @inner.get("/x")
    async def read() -> int:
        return 1

    async def then_fail(request: Request, call_next: Any) -> None:
        await call_next(request)
        raise error

    app, service = app_of()
    service.install(app)
    for kind in (UsedUpError, HTTPException):
        app.add_exception_handler(kind, told)
    app.mount("/sub", BaseHTTPMiddleware(inner, then_fail))  # type: ignore[arg-type] # never returns
    assert await status_of(app, "/sub/x") == status
