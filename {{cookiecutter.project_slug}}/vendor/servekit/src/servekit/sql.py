"""SQL databases: a bounded pool with time limits, upserts, and what a database away means.

It needs the extra: `servekit[sql]`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Annotated, Any, Self

import orjson
import structlog
from fastapi import Depends
from sqlalchemy import URL, MetaData, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError, TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from servekit.context import service_of
from servekit.notation.database_url import DatabaseAddress, parse_database_url
from servekit.problems import problem_response, retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ExceptionContext, Table

    from servekit.service import Service

__all__ = ["Database", "DatabaseDep", "find_database", "lock_schema", "or_replace"]

Upsert = sqlite.Insert | postgresql.Insert

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
POSTGRESQL_PORT = 5432
CONNECT_SECONDS = 5
COMMAND_SECONDS = 30
LOCK_SECONDS = 5
SCHEMA_LOCK = 0x70726F64  # any number, as long as every worker takes the same


UNAVAILABLE: dict[type[Exception], int] = {PoolTimeoutError: 503, OperationalError: 503}
"""No connection became free in time; or the database is locked, or away."""

ARGUMENT = re.compile(r"(invalid input for query argument \$\d+).*", re.DOTALL)
"""What asyncpg says of an argument of the wrong type, and then what it is."""

log = structlog.get_logger()


class Database:
    """Own an engine; opening it creates the tables of `metadata` that are missing.

    `connections` bounds the pool; a query waits at most `wait_seconds` for one of them and then
    raises `sqlalchemy.exc.TimeoutError`. `url` is SQLite's, or PostgreSQL's with the words of
    SQLAlchemy or libpq (`sslmode`, `options`). A route that lets the errors of a database pass that
    is away, locked or busy answers 503. No error and no log tells the values of a statement.
    """

    statuses = UNAVAILABLE

    def __init__(
        self,
        url: str,
        metadata: MetaData | None = None,
        *,
        connections: int = 10,
        wait_seconds: float = 1,
    ) -> None:
        address = parse_database_url(url)
        self.engine: AsyncEngine = create_async_engine(
            url_of(address),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_recycle=1800,
            pool_pre_ping=address.backend == "postgresql",
            connect_args=connect_arguments(address),
            hide_parameters=True,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        self.dialect = self.engine.dialect.name
        # Written before the fork, once: 4 ms of every worker's start.
        self._schema = [
            str(each.compile(self.engine.sync_engine)) for each in creations(metadata or MetaData())
        ]
        event.listen(self.engine.sync_engine, "handle_error", hide_values)
        if self.dialect == "sqlite":
            event.listen(self.engine.sync_engine, "connect", prepare_sqlite)
            # First of all: what SQLAlchemy itself prepares may be cancelled too.
            event.listen(self.engine.sync_engine, "connect", stop_once, insert=True)

    async def __aenter__(self) -> Self:
        try:
            async with self.engine.begin() as connection:
                await lock_schema(connection)
                for statement in self._schema:
                    await connection.exec_driver_sql(statement)
        except BaseException:
            await self.engine.dispose()  # whoever fails to open is never closed
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.dispose()

    @property
    def exception_handlers(self) -> dict[type[Exception], Any]:
        """What answers for the application while the database is away, and logs why."""
        return dict.fromkeys(UNAVAILABLE, database_unavailable)

    def upsert(self, table: Table) -> Upsert:
        """Return the dialect's insert for `table`, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)


def or_replace(statement: Upsert) -> Upsert:
    """Make an insert replace the row that has the same id."""
    columns = [column.name for column in statement.table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={name: statement.excluded[name] for name in columns}
    )


def url_of(address: DatabaseAddress) -> URL:
    """Return an address as SQLAlchemy has it, with our driver."""
    host, port = address.hosts[0] if len(address.hosts) == 1 else (None, None)
    return URL.create(
        DRIVERS[address.backend],
        username=address.username,
        password=address.password,
        host=None if host and host.startswith("/") else host,
        port=port,
        database=address.database or None,
    )


def connect_arguments(address: DatabaseAddress) -> dict[str, Any]:
    """Return time limits, and what the address asks for, in the words of the driver."""
    if address.backend == "sqlite":
        return {"timeout": LOCK_SECONDS, "async_creator_fn": connect_sqlite}
    arguments: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": COMMAND_SECONDS,
        "async_creator_fn": connect_postgresql,
    }
    if len(address.hosts) > 1 or any(host.startswith("/") for host, _ in address.hosts):
        arguments["host"] = [host for host, _ in address.hosts]
        arguments["port"] = [port or POSTGRESQL_PORT for _, port in address.hosts]
    if address.tls:
        arguments["ssl"] = tls_of(address.tls)
    return arguments | address.arguments


async def connect_sqlite(*arguments: Any, **options: Any) -> Any:
    """Open a file in a thread of its own; who gives up meanwhile leaves no open connection."""
    import aiosqlite  # of those who have one

    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does where it connects itself
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: done.exception() or connection.stop())
        raise


def tls_of(words: dict[str, str]) -> str | ssl.SSLContext:
    """Return what libpq's words ask of TLS; as there, an authority that is named is asked."""
    mode, authority = words["sslmode"], words.get("sslrootcert")
    if mode == "require" and authority:
        mode = "verify-ca"
    if len(words) == 1 and not mode.startswith("verify"):
        return mode
    context = ssl.create_default_context(cafile=None if authority == "system" else authority)
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    if certificate := words.get("sslcert"):
        context.load_cert_chain(certificate, words.get("sslkey"), words.get("sslpassword", ""))
    return context


async def connect_postgresql(**arguments: Any) -> Any:
    """Open a connection; a server that is away is the error that other databases raise then."""
    import asyncpg  # of those who have one

    try:
        return await asyncpg.connect(**arguments)
    except (OSError, asyncpg.PostgresError) as error:
        raise OperationalError("connect", None, error) from error


def hide_values(context: ExceptionContext) -> None:
    """Take out of an error what PostgreSQL and its driver say of values: a row, an argument.

    Names of columns and constraints stay.
    """
    error: BaseException | None = context.sqlalchemy_exception or context.original_exception
    while error is not None:
        if getattr(error, "detail", None) is not None:
            error.detail = None  # type: ignore[attr-defined] # asyncpg's
        error.args = tuple(
            ARGUMENT.sub(r"\1", part) if isinstance(part, str) else part for part in error.args
        )
        error = getattr(error, "orig", None) or error.__cause__


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers and one writer of several processes work side by side."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def stop_once(connection: Any, _record: object) -> None:
    """Have a connection's thread told once to stop, whoever does so again.

    SQLAlchemy closes a connection whose query was cancelled, and stops it when it is cancelled once
    more. What the close asks of the thread that has ended by then would never be answered.
    """
    driver = connection.driver_connection
    stop = driver.stop
    answers: list[Any] = []

    def stop_if_running() -> Any:
        if not answers:
            answers.append(stop())
        return answers[0]

    driver.stop = stop_if_running


def creations(metadata: MetaData) -> Iterator[CreateTable | CreateIndex]:
    """Yield what creates the tables and indexes that are not there yet."""
    for table in metadata.sorted_tables:
        yield CreateTable(table, if_not_exists=True)
        for index in table.indexes:
            yield CreateIndex(index, if_not_exists=True)


async def lock_schema(connection: AsyncConnection) -> None:
    """Make other workers wait until this transaction ends; IF NOT EXISTS alone still races."""
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})


async def database_unavailable(request: Request, error: Exception) -> Response:
    """Answer 503, and say in the log what the driver said."""
    log.warning("database_unavailable", error=str(error.__cause__ or error))
    headers = {"retry-after": retry_after().decode()}
    return problem_response(request.scope, 503, headers=headers)


async def get_database(connection: HTTPConnection) -> Database:
    """Return the database that was added to the service, for `Depends`."""
    return find_database(service_of(connection))


def find_database(service: Service) -> Database:
    """Return the first database that was added to a service.

    Raises:
        LookupError: There is none.
    """
    for part in service.parts:
        if isinstance(part, Database):
            return part
    raise LookupError("No Database was added to the service.")


DatabaseDep = Annotated[Database, Depends(get_database)]
"""The first database that was added to the service."""
