"""Put the example into an application; nothing else of the service knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.example import accounts, products, reports
from service.example.bulk_load import ImportRejectedError
from service.example.catalogue import Catalogue
from service.example.database import Database
from service.example.users import Users
from service.middleware.direct_route import add_routes
from service.middleware.problems import problem_response, retry_after

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from service.runtime.offload.processes import Processes
    from service.runtime.offload.threads import Threads
    from service.stores.cache.cache import Cache
    from service.upstream.client import Upstream


log = structlog.get_logger()


class Parts(Protocol):
    """What the example uses of a worker: every part, as it shows every part."""

    resources: list[AbstractAsyncContextManager[Any]]
    cache: Cache
    threads: Threads
    processes: Processes
    upstream: Upstream
    cache_warm_seconds: float


def install(app: FastAPI, parts: Parts, database_url: str, *, seed: bool = False) -> None:
    """Add the routes to `app` and what they need to `parts.resources`, after cache and pools.

    `seed` plants a few dozen products in an empty catalogue; warming the cache with the newest ones
    takes at most `parts.cache_warm_seconds`.
    """
    database = Database(database_url)
    catalogue = Catalogue(
        database=database,
        cache=parts.cache,
        upstream=parts.upstream,
        seed=seed,
        warm_seconds=parts.cache_warm_seconds,
    )
    parts.resources += [database, catalogue]
    app.state.catalogue = catalogue
    app.state.users = Users(database=database, threads=parts.threads)
    app.state.processes = parts.processes
    app.exception_handlers |= {
        ImportRejectedError: import_rejected,
        PoolTimeoutError: database_unavailable,
        OperationalError: database_unavailable,
    }
    add_routes(app, reports.router, accounts.router, products.router)


async def database_unavailable(
    request: Request, error: PoolTimeoutError | OperationalError
) -> Response:
    """Answer that no connection became free in time, or that the database is locked or away."""
    log.warning("database_unavailable", error=str(error.__cause__ or error))
    headers = {"retry-after": retry_after().decode()}
    return problem_response(request.scope, 503, headers=headers)


async def import_rejected(request: Request, error: ImportRejectedError) -> Response:
    """Answer which rows of an import are wrong."""
    detail = f"Nothing was imported: {error.count} errors, the first {len(error.errors)} listed."
    errors = [row.model_dump() for row in error.errors]
    return problem_response(
        request.scope, 422, detail=detail, error_count=error.count, errors=errors
    )
