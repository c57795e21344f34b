import asyncio
import contextlib

import pytest
from sqlalchemy import func, insert, inspect, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.example.database import Database
from service.example.tables import metadata, products, users


async def test_opening_creates_the_tables_and_opening_again_keeps_them(database):
    async with database.engine.begin() as connection:
        await connection.execute(insert(users).values(username="ada", password_hash="x"))
    async with Database(str(database.engine.url)) as again, again.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(users)) == 1
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        assert set(names) == {products.name, users.name}


async def test_many_workers_may_create_the_tables_at_once(database_url):
    async with Database(database_url) as database, database.engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
    async with contextlib.AsyncExitStack() as stack:
        workers = [Database(database_url, connections=1) for _ in range(8)]
        opening = [stack.enter_async_context(worker) for worker in workers]
        assert await asyncio.gather(*opening, return_exceptions=True) == workers


async def test_a_full_pool_refuses_after_its_limit(database_url):
    database = Database(database_url, connections=1, wait_seconds=0.05)
    async with database, database.engine.connect() as connection:
        await connection.execute(select(1))
        with pytest.raises(PoolTimeoutError):
            await database.engine.connect().start()


async def test_sqlite_lets_readers_read_while_a_writer_writes(tmp_path):
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        async with database.engine.begin() as writer:
            await writer.execute(insert(users).values(username="ada", password_hash="x"))
            async with asyncio.timeout(1), database.engine.connect() as reader:
                assert await reader.scalar(select(func.count()).select_from(users)) == 0
        async with database.engine.connect() as connection:
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
