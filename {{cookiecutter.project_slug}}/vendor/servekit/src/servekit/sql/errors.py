"""What is said when a database cannot answer: a reason and a remedy, and never a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import OperationalError, TimeoutError as PoolTimeoutError

from servekit.problems import problem_response, retry_after

if TYPE_CHECKING:
    from sqlalchemy import ExceptionContext
    from starlette.requests import Request
    from starlette.responses import Response

UNAVAILABLE: dict[type[Exception], int] = {PoolTimeoutError: 503, OperationalError: 503}
"""No connection became free in time; or the database is locked, or away."""

ARGUMENT = re.compile(r"(invalid input for query argument \$\d+).*", re.DOTALL)
"""What asyncpg says of an argument of the wrong type, and then what it is."""

STATEMENT_LOST = {"26000", "42P05"}
POOLER = (
    "a pooler seems to hand connections on between transactions: give PgBouncer 1.21 or newer "
    "max_prepared_statements=200, or DATABASE_URL ?pgbouncer=true"
)

log = structlog.get_logger()


def hide_values(context: ExceptionContext) -> None:
    """Take out of an error what PostgreSQL and its driver say of values: a row, an argument.

    Names of columns and constraints stay.
    """
    error: BaseException | None = context.sqlalchemy_exception or context.original_exception
    while error is not None:
        if isinstance(getattr(error, "detail", None), str):
            error.detail = None  # type: ignore[attr-defined] # asyncpg's
        error.args = tuple(
            ARGUMENT.sub(r"\1", part) if isinstance(part, str) else part for part in error.args
        )
        error = getattr(error, "orig", None) or error.__cause__


def explain_pooler(context: ExceptionContext) -> None:
    """Add the remedy to an error that only a pooler between the driver and PostgreSQL causes."""
    error = context.sqlalchemy_exception
    state = getattr(error and error.orig, "sqlstate", None)
    if error is not None and state in STATEMENT_LOST:
        error.add_detail(POOLER)


async def database_unavailable(request: Request, error: Exception) -> Response:
    """Answer 503, and say in the log what the driver said."""
    log.warning("database_unavailable", error=str(error.__cause__ or error))
    headers = {"retry-after": retry_after().decode()}
    return problem_response(request.scope, 503, headers=headers)
