"""Both databases: tables that several processes create, bounded pools, upserts, and no answer."""

import asyncio
import contextlib
import logging
import sqlite3
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError as PoolTimeoutError

from servekit import Service, Settings
from servekit.sql import Database, DatabaseDep, connecting, or_replace
from servekit.testing import both_databases, patience

ROOT = Path(__file__).parents[2]

metadata = MetaData()
users = Table(
    "users", metadata, Column("id", Integer, primary_key=True), Column("name", String(32))
)
ADA = insert(users).values(id=1, name="ada")

PROCESS = """
import asyncio, sys
from servekit.sql import Database
from tests.sql.test_database import metadata

async def main():
    async with Database(sys.argv[1], metadata, connections=1):
        pass

sys.stdin.readline()  # until all are here
asyncio.run(main())
"""


async def count(database):
    async with database.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(users))


@pytest.fixture
def app(make_settings, database_url):
    service = Service(make_settings(Settings))
    service.add(Database(database_url, metadata, connections=1, wait_seconds=0.05))
    app = FastAPI()
    service.install(app)

    @app.get("/users")
    async def number(database: DatabaseDep) -> int:
        return int(await count(database) or 0)

    @app.put("/users")
    async def put(database: DatabaseDep) -> None:
        async with database.engine.begin() as connection:
            await connection.execute(ADA)

    return app


@both_databases
async def test_opening_creates_the_tables_and_opening_again_keeps_them(database_url):
    for _ in range(2):
        async with Database(database_url, metadata) as database:
            async with database.engine.begin() as connection:
                await connection.execute(insert(users).values(name="ada"))
                names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            assert names == ["users"]
            found = await count(database)
    assert found == 2


@pytest.mark.parametrize(("level", "told"), [(0, False), (logging.INFO, True)])
async def test_a_pool_tells_of_its_end_only_where_somebody_asks(tmp_path, caplog, level, told):
    pools = logging.getLogger("servekit.sql.metrics.TimedPool")
    pools.setLevel(logging.NOTSET)
    logging.getLogger("sqlalchemy.pool").setLevel(level)
    try:
        with caplog.at_level(logging.INFO):
            async with Database(f"sqlite:///{tmp_path}/test.db", metadata):
                pass
        assert ("Pool disposed" in caplog.text) is told
    finally:
        pools.setLevel(logging.NOTSET)
        logging.getLogger("sqlalchemy.pool").setLevel(logging.NOTSET)


@both_databases
async def test_opening_leaves_a_table_that_is_there_as_it_is(database_url):
    newer = MetaData()
    users.to_metadata(newer).append_column(Column("email", String(32)))
    async with Database(database_url, metadata):
        pass
    async with Database(database_url, newer) as database, database.engine.connect() as connection:
        columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("users"))
    assert [column["name"] for column in columns] == ["id", "name"]


@both_databases
def test_many_processes_may_create_the_tables_at_once(database_url):
    command = [sys.executable, "-c", PROCESS, database_url]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stderr=pipe, text=True) for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=patience(20))
        assert process.returncode == 0, errors


@both_databases
async def test_many_workers_may_create_the_tables_at_once(database_url):
    async with contextlib.AsyncExitStack() as stack:
        workers = [Database(database_url, metadata, connections=1) for _ in range(8)]
        opening = [stack.enter_async_context(worker) for worker in workers]
        assert await asyncio.gather(*opening, return_exceptions=True) == workers


@both_databases
async def test_an_upsert_replaces_the_row_of_its_id(database_url):
    async with Database(database_url, metadata) as database:
        async with database.engine.begin() as connection:
            for name in ("ada", "bob"):
                row = database.upsert(users).values(id=1, name=name)
                await connection.execute(or_replace(row))
        async with database.engine.connect() as connection:
            assert await connection.scalar(select(users.c.name)) == "bob"
        assert await count(database) == 1


@both_databases
async def test_a_full_pool_refuses_after_its_limit(database_url):
    database = Database(database_url, connections=1, wait_seconds=0.05)
    async with database, database.engine.connect() as connection:
        await connection.execute(select(1))
        with pytest.raises(PoolTimeoutError):
            await database.engine.connect().start()


@both_databases
async def test_a_pool_that_is_used_up_is_a_503_problem(client, database):
    assert (await client.get("/users")).json() == 0
    async with database.engine.connect():
        async with asyncio.timeout(patience(2)):
            answer = await client.get("/users")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await client.get("/users")).json() == 0


async def test_a_locked_database_is_a_503_problem(app, client, database_url, tmp_path):
    with sqlite3.connect(tmp_path / "test.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await client.get("/users")).status_code == 200
        assert (await client.put("/users")).status_code == 503
        other.execute("ROLLBACK")
    other.close()
    assert (await client.put("/users")).status_code == 200


SECRET = "scrypt$16384$8$5$c2FsdA==$a2V5"
hashes = Table(
    "hashes",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("hash", String(100), CheckConstraint("length(hash) < 50")),
)
BROKEN: dict[str, tuple[Any, Any]] = {
    "unique": (insert(hashes), {"name": "ada", "hash": SECRET}),
    "not null": (text("INSERT INTO hashes (hash) VALUES (:hash)"), {"hash": SECRET}),
    "check": (insert(hashes), {"name": "bob", "hash": SECRET * 2}),
    "key": (insert(hashes), {"id": 1, "name": "bob", "hash": SECRET}),
    "wrong type": (insert(hashes), {"name": "bob", "hash": SECRET.encode()}),
    "wrong text": (text("UPDATE hashes SET id = (:hash)::text::int"), {"hash": SECRET}),
    "out of range": (text("UPDATE hashes SET id = (:hash || 'x')::text::date"), {"hash": SECRET}),
    "no such table": (text("INSERT INTO nowhere VALUES (:hash)"), {"hash": SECRET}),
    "several": (insert(hashes), [{"name": "ada", "hash": SECRET}, {"name": "x", "hash": SECRET}]),
}


@both_databases
@pytest.mark.parametrize("fault", BROKEN)
async def test_no_error_and_no_log_of_a_statement_tells_its_values(database_url, fault, caplog):
    caplog.set_level("DEBUG", "sqlalchemy")
    statement, values = BROKEN[fault]
    async with Database(database_url, hashes.metadata) as database:
        async with database.engine.begin() as connection:
            await connection.execute(insert(hashes), {"id": 1, "name": "ada", "hash": SECRET})
        try:
            async with database.engine.begin() as connection:
                await connection.execute(statement, values)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            said = "".join(traceback.format_exception(error))
            assert "scrypt" not in said
        else:
            assert (database.dialect, fault) == ("sqlite", "wrong type")  # it takes any type
    assert "hashes" in caplog.text
    assert "scrypt" not in caplog.text


async def test_an_error_reads_as_text_with_its_statement(database_url):
    async with Database(database_url, metadata) as database:
        with pytest.raises(DBAPIError) as raised:
            async with database.engine.begin() as connection:
                await connection.execute(text("SELECT missing FROM users"))
    assert "missing" in str(raised.value)
    assert "[SQL: SELECT missing" in str(raised.value)


@pytest.fixture(autouse=True)
def _short_locks(monkeypatch):
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 0.2)


async def test_a_database_that_is_away_ends_the_start_and_leaves_nothing_open(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/test.db", metadata)
    with pytest.raises(OperationalError, match=rf"^{tmp_path}/no/such/folder/test.db: unable to "):
        await database.__aenter__()
    # SQLite's driver does not wait for the thread that failed to connect; it answers to the loop.
    assert not [each for each in threading.enumerate() if "_connection_worker" in each.name]


async def test_a_postgresql_that_is_away_is_a_503_problem(app, client, service):
    service.parts.clear()
    away = Database("postgresql://service@/postgres?host=/nowhere")
    away.is_open = True  # it was there at the start
    service.parts.append(away)
    assert (await client.get("/users")).status_code == 503


async def test_sqlite_lets_readers_read_while_a_writer_writes(database_url):
    async with Database(database_url, metadata) as database:
        async with database.engine.begin() as writer:
            await writer.execute(ADA)
            async with asyncio.timeout(patience(1)):
                assert await count(database) == 0
        async with database.engine.connect() as connection:
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
