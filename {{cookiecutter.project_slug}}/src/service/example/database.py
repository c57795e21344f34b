"""The SQL database: one bounded pool, and a schema that many workers may create at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import orjson
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from service.example.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Table

Upsert = sqlite.Insert | postgresql.Insert

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
CONNECT_SECONDS = 5
COMMAND_SECONDS = 30
LOCK_SECONDS = 5
SCHEMA_LOCK = 0x70726F64  # any number, as long as every worker takes the same


class Database:
    """Own the engine; opening it creates what is missing.

    `connections` bounds the pool; a query waits at most `wait_seconds` for one of them and then
    raises `sqlalchemy.exc.TimeoutError`.
    """

    def __init__(self, url: str, *, connections: int = 10, wait_seconds: float = 1) -> None:
        address = make_url(url)
        address = address.set(drivername=DRIVERS.get(address.drivername, address.drivername))
        self.engine: AsyncEngine = create_async_engine(
            address,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_recycle=1800,
            pool_pre_ping=address.get_backend_name() == "postgresql",
            connect_args=connect_arguments(address),
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        self.dialect = self.engine.dialect.name
        # Written before the fork, once: 4 ms of every worker's start.
        self._schema = [str(each.compile(self.engine.sync_engine)) for each in creations()]
        if self.dialect == "sqlite":
            event.listen(self.engine.sync_engine, "connect", prepare_sqlite)

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

    def upsert(self, table: Table) -> Upsert:
        """Return the dialect's insert for `table`, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)


def or_replace(statement: Upsert) -> Upsert:
    """Make an insert replace the row that has the same id."""
    columns = [column.name for column in statement.table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={name: statement.excluded[name] for name in columns}
    )


def now_ms() -> int:
    """Return the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def connect_arguments(address: URL) -> dict[str, Any]:
    """Return the time limits in the words of the driver."""
    if address.get_backend_name() == "sqlite":
        return {"timeout": LOCK_SECONDS}
    return {"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS}


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers and one writer of several processes work side by side."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def creations() -> Iterator[CreateTable | CreateIndex]:
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
