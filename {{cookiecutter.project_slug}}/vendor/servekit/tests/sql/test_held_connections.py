"""Who holds a connection is known, for as long as it does, and where it waits meanwhile."""

import asyncio
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from servekit.diagnosis.causes.connections import holds, holds_beside
from servekit.diagnosis.evidence import from_own
from servekit.diagnosis.stacks import read_frame
from servekit.lent import holdings, watched
from servekit.monitors.wait_sampler import places
from servekit.own_code import shown
from servekit.sql import Database
from servekit.testing import both_databases
from tests.processes.running import eventually

HELD = {"database connection"}


def own_holdings():
    task = asyncio.current_task()
    assert task is not None
    return holdings(task)


def stack_of(task):
    return from_own(tuple(map(read_frame, places(task))))


async def until_it_waits(task):
    """Wait until a task stands where it stood a moment before."""

    async def stands():
        seen = stack_of(task)
        await asyncio.sleep(0.02)
        return seen == stack_of(task)

    await eventually(stands)


@both_databases
async def test_where_a_connection_was_taken_is_known_while_somebody_watches(database_url):
    async with Database(database_url) as database, AsyncSession(database.engine) as session:

        async def ask():
            await session.execute(text("SELECT 1"))

        with watched():
            await ask()
        [held] = own_holdings()
        line = ask.__code__.co_firstlineno + 1
        assert held.startswith("database connection taken at ")
        assert held.endswith(f".ask {shown(__file__, line)}")
        await session.commit()
        assert not own_holdings()
        await ask()
        assert own_holdings() == HELD


@both_databases
async def test_the_line_at_which_a_connection_is_held_beside_is_told(database_url):
    async with Database(database_url, connections=1, wait_seconds=20) as database:

        async def ask_elsewhere():
            await asyncio.sleep(60)

        async def route():
            async with database.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                await ask_elsewhere()

        one, other = (asyncio.create_task(route()) for _ in range(2))
        await until_it_waits(one)
        await until_it_waits(other)
        assert holds_beside(stack_of(one)), places(one)
        assert stack_of(one)[0].name.endswith("ask_elsewhere")
        assert not holds(stack_of(other)), places(other)
        one.cancel()
        await eventually(lambda: holdings(other))
        assert not holdings(one)
        await until_it_waits(other)
        assert holds_beside(stack_of(other)), places(other)
        other.cancel()
        await asyncio.wait([one, other])
        assert not holdings(other)


async def test_who_waits_for_a_statement_of_its_own_holds_nothing_beside(postgresql_url):
    async with Database(postgresql_url) as database:

        async def route():
            async with database.engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))

        task = asyncio.create_task(route())
        await eventually(lambda: holdings(task))
        await until_it_waits(task)
        assert holds(stack_of(task))
        assert not holds_beside(stack_of(task)), places(task)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("way", ["close", "fail", "invalidate", "detach", "session"])
@both_databases
async def test_nobody_holds_a_connection_that_went_back_whatever_way(database_url, way):
    async with Database(database_url) as database:
        if way == "session":
            async with AsyncSession(database.engine) as session:
                await session.execute(text("SELECT 1"))
                assert own_holdings() == HELD
                await session.commit()
                assert not own_holdings()
            return
        connection = await database.engine.connect().start()
        assert own_holdings() == HELD
        if way == "fail":
            with pytest.raises(Exception, match="nonsense"):
                await connection.execute(text("SELECT nonsense FROM nowhere"))
        if way == "invalidate":
            await connection.invalidate()
        if way == "detach":
            raw = await connection.get_raw_connection()
            driver = cast("Any", raw.driver_connection)
            raw.detach()
            await driver.close()
        await connection.close()
        assert not own_holdings()


@both_databases
async def test_who_holds_two_connections_holds_one_after_the_first_went_back(database_url):
    async with Database(database_url) as database:
        one, other = database.engine.connect(), database.engine.connect()
        await one.start()
        await other.start()
        assert own_holdings() == HELD
        await asyncio.create_task(one.close())  # whoever gives it back
        assert own_holdings() == HELD
        await other.close()
        assert not own_holdings()


@both_databases
async def test_who_was_refused_a_connection_holds_none(database_url):
    async with Database(database_url, connections=1, wait_seconds=0.05) as database:

        async def ask():
            with pytest.raises(Exception, match="QueuePool"):
                await database.engine.connect().start()
            return own_holdings()

        async with database.engine.connect():
            assert await asyncio.create_task(ask()) == set()
