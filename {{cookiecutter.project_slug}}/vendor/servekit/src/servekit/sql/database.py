"""A database: its engine, its schema and its upserts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import MetaData, create_mock_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from servekit.notation.database_url import parse_database_url
from servekit.reservations import Reservation, Reserves
from servekit.sql.connecting import (
    COMMAND_SECONDS,
    connect_arguments,
    in_time,
    place_of,
    prepare_sqlite,
    stop_once,
    url_of,
)
from servekit.sql.errors import (
    UNAVAILABLE,
    database_unavailable,
    explain_pooler,
    hide_values,
    tell_unavailable,
)
from servekit.sql.metrics import TimedPool, metrics_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from sqlalchemy import URL, Table


Upsert = sqlite.Insert | postgresql.Insert

SCHEMA_LOCK = 0x70726F64  # any number, as long as every worker takes the same

# Of the server, less what it keeps for its superusers; of the user; of the database.
CONNECTIONS_MAX = text("""
SELECT least(
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
)
""")


class Database(Reserves):
    """Own an engine; opening it creates what of `metadata` is missing: tables, indexes, types.

    It alters none: a new column of a table that exists is a migration's. `connections` bounds the
    pool; a query waits at most `wait_seconds` for one of them and then raises
    `sqlalchemy.exc.TimeoutError`. A statement of PostgreSQL takes at most `command_seconds`, unless
    the address says `command_timeout`; with None there is no end, as migrations need it. `url` is
    SQLite's, where foreign keys are enforced as by PostgreSQL, or PostgreSQL's with the words of
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
        command_seconds: float | None = COMMAND_SECONDS,
    ) -> None:
        self.is_open = False
        self._connections = connections
        address = parse_database_url(url)
        self._place = place_of(address)
        self.engine: AsyncEngine = create_async_engine(
            url_of(address),
            poolclass=TimedPool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_recycle=1800,
            pool_pre_ping=address.backend == "postgresql",
            connect_args=connect_arguments(address, command_seconds),
            hide_parameters=True,
        )
        calm_pool()
        self.dialect = self.engine.dialect.name
        self._metadata = metadata or MetaData()
        self._write_schema()  # before the fork, once: 4 ms of every worker's start
        event.listen(self.engine.sync_engine, "handle_error", hide_values)
        event.listen(self.engine.sync_engine, "handle_error", explain_pooler)
        event.listen(self.engine.sync_engine, "handle_error", tell_unavailable)
        dialect: Any = self.engine.sync_engine.dialect
        dialect.do_ping = in_time(dialect.do_ping)
        if self.dialect == "sqlite":
            event.listen(self.engine.sync_engine, "connect", prepare_sqlite)
            # First of all: what SQLAlchemy itself prepares may be cancelled too.
            event.listen(self.engine.sync_engine, "connect", stop_once, insert=True)

    def _write_schema(self) -> None:
        self._tables = set(self._metadata.tables)
        self._is_plain = is_plain(self._metadata, self.engine.url)
        self._schema = [
            str(each.compile(self.engine.sync_engine))
            for each in creations(self._metadata, tables=self._is_plain)
        ]

    async def __aenter__(self) -> Self:
        if set(self._metadata.tables) != self._tables:
            self._write_schema()  # a module with tables was imported after this was made
        try:
            async with self.engine.begin() as connection:
                await lock_schema(connection)
                if not self._is_plain:
                    await connection.run_sync(self._metadata.create_all)
                for statement in self._schema:
                    await connection.exec_driver_sql(statement)
        except BaseException as error:
            await self.engine.dispose()  # whoever fails to open is never closed
            if isinstance(error, DBAPIError):
                reason = str(error.orig) or type(error.orig).__name__  # a timeout has no text
                error.args = (f"{self._place}: {reason}",)
            raise
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False
        await self.engine.dispose()

    @property
    def exception_handlers(self) -> dict[type[Exception], Any]:
        """What answers for the application while the database is away, and logs why."""
        return dict.fromkeys(UNAVAILABLE, database_unavailable)

    async def reservation(self) -> Reservation | None:
        """Return the pool's size and what PostgreSQL allows in all; None for SQLite."""
        if self.dialect != "postgresql":
            return None
        async with self.engine.connect() as connection:
            limit = await connection.scalar(CONNECTIONS_MAX)
        remedy = "fewer in Database(connections=), a higher max_connections, or PgBouncer"
        return Reservation("postgresql", self._connections, limit, remedy)

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Count statements and waits for the pool in a worker's metrics."""
        metrics_of(registry).watch(self.engine.sync_engine)

    def upsert(self, table: Table) -> Upsert:
        """Return the dialect's insert for `table`, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)


def calm_pool() -> None:
    """Let pools tell of coming and going where SQLAlchemy's own are told to, else warn only."""
    pools = logging.getLogger(f"{TimedPool.__module__}.{TimedPool.__qualname__}")
    if not pools.level:
        pools.setLevel(logging.getLogger("sqlalchemy.pool").level or logging.WARNING)


def or_replace(statement: Upsert) -> Upsert:
    """Make an insert replace the row that has the same id."""
    columns = [column.name for column in statement.table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={name: statement.excluded[name] for name in columns}
    )


def is_plain(metadata: MetaData, url: URL) -> bool:
    """Return whether tables and indexes are all that there is to create.

    Types, sequences, comments, circles of foreign keys and listeners are SQLAlchemy's own matter.
    """
    kinds: set[type] = set()
    engine = create_mock_engine(url, lambda ddl, *_, **__: kinds.add(type(ddl)))
    listened = [
        each.dispatch.before_create or each.dispatch.after_create
        for each in (metadata, *metadata.tables.values())
    ]
    if any(listened):
        return False
    metadata.create_all(engine, checkfirst=False)
    return kinds <= {CreateTable, CreateIndex}


def creations(metadata: MetaData, *, tables: bool) -> Iterator[CreateTable | CreateIndex]:
    """Yield what creates the tables, and the indexes that are not there yet."""
    for table in metadata.sorted_tables if tables else metadata.tables.values():
        if tables:
            yield CreateTable(table, if_not_exists=True)
        for index in table.indexes:
            yield CreateIndex(index, if_not_exists=True)


async def lock_schema(connection: AsyncConnection) -> None:
    """Make other workers wait until this transaction ends; IF NOT EXISTS alone still races."""
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
