"""Queries of SQLite that nobody waits for any more leave nothing behind."""

import asyncio
import gc
import random
import sqlite3
import time
from typing import Any

from sqlalchemy import func, insert, select

from servekit.sql import Database, connecting
from servekit.testing import patience
from tests.sql.test_database import metadata, users


async def test_queries_that_are_given_up_while_they_stream_leave_no_task_behind(tmp_path):
    """As clients do that reset their connection: at any moment, and more than once."""
    said = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context))
    chance = random.Random(1)

    async def read(database):
        async with (
            database.engine.connect() as connection,
            connection.stream(select(users)) as rows,
        ):
            async for _ in rows:
                if chance.random() < 0.01:
                    await asyncio.sleep(0)

    async with Database(f"sqlite:///{tmp_path}/users.db", metadata, connections=5) as database:
        async with database.engine.begin() as connection:
            await connection.execute(insert(users), [{"id": n, "name": "a"} for n in range(5000)])
        for _ in range(60):
            reading = asyncio.create_task(read(database))
            await asyncio.sleep(chance.random() * 0.005)
            for _ in range(chance.randrange(1, 4)):
                reading.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([reading])
        async with database.engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(users)) == 5000
    await asyncio.sleep(0.05)
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


async def test_a_connection_that_nobody_waits_for_any_more_is_closed(tmp_path, monkeypatch):
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connect_late(*arguments, **options):
        time.sleep(0.05)
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_late)
    attempt = asyncio.ensure_future(connecting.connect_sqlite(tmp_path / "users.db"))
    await asyncio.sleep(0.01)
    attempt.cancel()
    await asyncio.wait([attempt])
    async with asyncio.timeout(patience(5)):
        while not opened or not is_closed(opened[0]):  # noqa: ASYNC110 - a thread closes it
            await asyncio.sleep(0.005)


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes  # noqa: B018 - asks no thread, but whether it is open
    except sqlite3.ProgrammingError as error:
        return "closed" in str(error)
    return False


async def test_a_connection_that_is_stopped_while_it_closes_is_closed(tmp_path):
    """As SQLAlchemy does it where a query is cancelled, and its closing once more."""
    async with Database(f"sqlite:///{tmp_path}/users.db", metadata) as database:
        raw = await database.engine.raw_connection()
        driver: Any = raw.driver_connection
        closing = asyncio.create_task(driver.close())
        await asyncio.sleep(0)
        driver.stop()
        async with asyncio.timeout(patience(5)):
            await closing
        raw.invalidate()


async def test_a_write_that_is_given_up_while_it_waits_holds_no_lock(tmp_path):
    """As where its client leaves: SQLite would keep the statement until a full collection."""
    path = f"{tmp_path}/users.db"

    async def create(database, name):
        async with database.engine.begin() as connection:
            return await connection.scalar(insert(users).values(name=name).returning(users.c.id))

    gc.disable()
    try:
        async with Database(f"sqlite:///{path}", metadata) as database:
            with sqlite3.connect(path, isolation_level=None, timeout=0) as other:
                for again in range(2):
                    await create(database, "first")
                    other.execute("BEGIN IMMEDIATE")
                    writing = asyncio.create_task(create(database, "given up"))
                    await asyncio.sleep(0.1)
                    for _ in range(1 + again):
                        writing.cancel()
                        await asyncio.sleep(0)
                    other.execute("ROLLBACK")
                    await asyncio.wait([writing])
                    assert await create(database, "next")
                    other.execute("BEGIN IMMEDIATE")
                    other.execute("ROLLBACK")
            other.close()
    finally:
        gc.enable()
