"""Statements and waits for the pool are timed, however they end."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError, TimeoutError as PoolTimeoutError

from servekit import Service, Settings
from servekit.sql import Database
from servekit.testing import both_databases


@pytest.fixture
def registry():
    return CollectorRegistry()


def count(registry, name):
    return registry.get_sample_value(f"database_{name}_seconds_count")


@both_databases
async def test_statements_count_whether_they_succeed_or_fail(registry, database_url):
    async with Database(database_url) as database:
        database.register_metrics(registry)
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            assert count(registry, "statement_duration") == 1
            with pytest.raises(SQLAlchemyError):
                await connection.execute(text("SELECT nonsense FROM nowhere"))
    assert count(registry, "statement_duration") == 2
    assert count(registry, "pool_wait") == 0


@both_databases
async def test_waits_for_the_pool_count_given_up_ones_too(registry, database_url):
    async with Database(database_url, connections=1, wait_seconds=0.1) as database:
        database.register_metrics(registry)
        async with database.engine.connect() as held:
            with pytest.raises(PoolTimeoutError):
                await database.engine.connect().start()
            waiting = asyncio.create_task(database.engine.connect().start())
            await asyncio.sleep(0.01)
            await held.close()
            await (await waiting).close()
    assert count(registry, "pool_wait") == 2
    assert registry.get_sample_value("database_pool_wait_seconds_sum") > 0.1
    assert not count(registry, "statement_duration")


@both_databases
async def test_waits_are_counted_after_the_engine_was_disposed_too(registry, database_url):
    async with Database(database_url, connections=1, wait_seconds=0.01) as database:
        database.register_metrics(registry)
        await database.engine.dispose()
        async with database.engine.connect():
            with pytest.raises(PoolTimeoutError):
                await database.engine.connect().start()
    assert count(registry, "pool_wait") == 1


def test_the_databases_of_a_service_share_their_metrics(make_settings, tmp_path):
    service = Service(make_settings(Settings))
    for name in "ab":
        service.add(Database(f"sqlite:///{tmp_path}/{name}.db"))
    assert count(service.registry, "statement_duration") == 0


@both_databases
async def test_a_listener_may_run_a_statement_within_another(registry, database_url):
    async with Database(database_url) as database:
        database.register_metrics(registry)

        @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
        def tenant(connection, _cursor, statement, *_):
            if "outer" in statement:
                connection.exec_driver_sql("SELECT 'inner'")

        async with database.engine.connect() as connection:
            assert await connection.scalar(text("SELECT 'outer'")) == "outer"
    assert count(registry, "statement_duration") == 2
