"""What is said when a database cannot answer: a reason and a remedy, and never a value."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError, TimeoutError as PoolTimeoutError

from servekit.event_log import get_logger
from servekit.problems import problem_response, retry_after

if TYPE_CHECKING:
    from sqlalchemy import ExceptionContext
    from starlette.requests import Request
    from starlette.responses import Response


class DatabaseUnavailable(Exception):  # noqa: N818 - a state of the database
    """The database is away, locked or busy: what SQLAlchemy raises then is one of these too.

    It stays an `OperationalError`, `InterfaceError` or `DBAPIError` as well. A mistake in a
    statement is none, whatever the driver calls it.
    """


UNAVAILABLE: dict[type[Exception], int] = {PoolTimeoutError: 503, DatabaseUnavailable: 503}
"""No connection became free in time; or the database is away, locked or busy."""

SQLITE_UNAVAILABLE = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT),
    }
)
# Of PostgreSQL: connections, resources, operators, conflicts of transactions; locks, time limits.
POSTGRESQL_UNAVAILABLE = ("08", "53", "57P", "40", "55P03", "57014")

ARGUMENT = re.compile(r"(invalid input for query argument \$\d+).*", re.DOTALL)
"""What asyncpg says of an argument of the wrong type, and then what it is."""

DATA = "22"
QUOTED = re.compile(r"(: )?[\"»«„“].*", re.DOTALL)  # as servers of other languages do
"""What PostgreSQL says of a value that a type does not take: behind the colon stands the value."""

STATEMENT_LOST = {"26000", "42P05"}
POOLER = (
    "a pooler seems to hand connections on between transactions: give PgBouncer 1.21 or newer "
    "max_prepared_statements=200, or DATABASE_URL ?pgbouncer=true"
)

log = get_logger()


def hide_values(context: ExceptionContext) -> None:
    """Take out of an error what PostgreSQL and its driver say of values: a row, an argument.

    Names of columns and constraints stay.
    """
    state = str(getattr(context.original_exception, "sqlstate", None) or "")

    def cut(text: str) -> str:
        text = ARGUMENT.sub(r"\1", text)
        return QUOTED.sub("", text) if state.startswith(DATA) else text

    error: BaseException | None = context.sqlalchemy_exception or context.original_exception
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(getattr(error, "detail", None), str):
            error.detail = None  # type: ignore[attr-defined] # asyncpg's
        error.args = tuple(cut(part) if isinstance(part, str) else part for part in error.args)
        error = getattr(error, "orig", None) or error.__cause__


def tell_unavailable(context: ExceptionContext) -> BaseException | None:
    """Make an error a `DatabaseUnavailable` too, where it is not the statement's.

    A statement that took too long is asyncpg's bare TimeoutError: one is returned in its place.
    """
    error, original = context.sqlalchemy_exception, context.original_exception
    if error is None and isinstance(original, TimeoutError):
        kind = unavailable(OperationalError)
        late: BaseException = kind(context.statement, None, original, hide_parameters=True)
        return late
    if error is not None and is_unavailable(context):
        error.__class__ = unavailable(type(error))
    return None


def is_unavailable(context: ExceptionContext) -> bool:
    """Return whether the database is to blame, or what is between."""
    if context.is_disconnect or context.connection is None:  # it was to be opened
        return True
    original: Any = context.original_exception
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in SQLITE_UNAVAILABLE
    return str(getattr(original, "sqlstate", None) or "").startswith(POSTGRESQL_UNAVAILABLE)


def unavailable(kind: Any) -> Any:
    """Return a class of errors that are both, under the name that the error has."""
    if issubclass(kind, DatabaseUnavailable):
        return kind
    if kind not in _kinds:
        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        _kinds[kind] = type(kind.__name__, (kind, DatabaseUnavailable), names)
    return _kinds[kind]


_kinds: dict[Any, Any] = {}


def explain_pooler(context: ExceptionContext) -> None:
    """Add the remedy to an error that only a pooler between the driver and PostgreSQL causes."""
    error = context.sqlalchemy_exception
    state = getattr(error and error.orig, "sqlstate", None)
    if error is not None and state in STATEMENT_LOST:
        error.add_detail(POOLER)


async def database_unavailable(request: Request, error: Exception) -> Response:
    """Answer 503, and say in the log what the driver said."""
    cause = error.__cause__ or error
    log.warning("database_unavailable", error=str(cause) or type(cause).__name__)
    headers = {"retry-after": retry_after().decode()}
    return problem_response(request.scope, 503, headers=headers)
