"""What is a database's fault and what is a statement's: 503 for the one, 500 for the other."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.sql import Database, DatabaseDep, DatabaseUnavailable, connecting
from servekit.sql.connecting import in_time
from servekit.sql.database import lock_schema
from servekit.sql.errors import database_unavailable, unavailable
from servekit.testing import both_databases

MISTAKES = ["SELEC 1", "SELECT * FROM nowhere", "SELECT missing FROM (SELECT 1 AS a) AS b"]


async def error_of(work):
    with pytest.raises(DBAPIError) as caught:
        await work
    return caught.value


async def run(database, *statements):
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


@both_databases
@pytest.mark.parametrize("statement", MISTAKES)
async def test_a_mistake_in_a_statement_is_an_error_of_the_application(database_url, statement):
    async with Database(database_url) as database:
        error = await error_of(run(database, statement))
    assert not isinstance(error, DatabaseUnavailable)


@pytest.fixture
def databases(postgresql_url):
    return Database(postgresql_url, connections=3), Database(postgresql_url, connections=30)


async def killed(database, other, *, idle):
    async with database.engine.connect() as connection:
        pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        sleeping = asyncio.ensure_future(connection.execute(text("SELECT pg_sleep(0.3)")))
        if idle:
            await sleeping
        else:
            await asyncio.sleep(0.1)
        await run(other, f"SELECT pg_terminate_backend({pid})")
        await asyncio.sleep(0.1)
        await (connection.execute(text("SELECT 1")) if idle else sleeping)


async def locked(database, other):
    await run(database, "CREATE TABLE IF NOT EXISTS held (id int)")
    async with database.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE held"))
        await run(other, "SET lock_timeout = 50", "SELECT * FROM held")


async def deadlocked(database, other):
    await run(database, *(f"CREATE TABLE IF NOT EXISTS dead{n} (id int)" for n in (1, 2)))

    async def take(one, two, place):
        async with place.engine.begin() as connection:
            await connection.execute(text(f"LOCK TABLE dead{one}"))
            await asyncio.sleep(0.2)
            await connection.execute(text(f"LOCK TABLE dead{two}"))

    both = await asyncio.gather(take(1, 2, database), take(2, 1, other), return_exceptions=True)
    [error] = [one for one in both if one is not None]
    raise error


async def too_many(_, other):
    async with contextlib.AsyncExitStack() as stack:
        for _number in range(30):
            await stack.enter_async_context(other.engine.connect())


POSTGRESQL = {
    "ended in a query": lambda one, other: killed(one, other, idle=False),
    "ended while idle": lambda one, other: killed(one, other, idle=True),
    "too long": lambda one, _: run(one, "SET LOCAL statement_timeout = 50", "SELECT pg_sleep(1)"),
    "locked": locked,
    "deadlocked": deadlocked,
    "too many clients": too_many,
}


@pytest.mark.parametrize("way", ["of the address", "at the start"])
async def test_what_the_driver_itself_gives_up_is_unavailable_too(postgresql_url, way):
    address = f"{postgresql_url}{'&' if '?' in postgresql_url else '?'}command_timeout=1"
    if way == "of the address":
        async with Database(address) as database:
            error = await error_of(run(database, "SELECT pg_sleep(5)"))
            await run(database, "SELECT 1")
    else:
        async with Database(postgresql_url) as other, other.engine.begin() as connection:
            await lock_schema(connection)
            error = await error_of(Database(address).__aenter__())
        assert str(error.args[0]).endswith(": TimeoutError")
    assert isinstance(error, DatabaseUnavailable)
    assert isinstance(error, OperationalError)
    assert "pg_sleep" not in str(error.orig)


@pytest.mark.parametrize("fault", POSTGRESQL)
async def test_a_postgresql_that_is_away_or_busy_is_unavailable(databases, fault):
    one, other = databases
    async with one, other:
        error = await error_of(POSTGRESQL[fault](one, other))
    assert isinstance(error, DatabaseUnavailable), repr(error)
    assert "servekit" not in repr(type(error))  # it reads as SQLAlchemy's


async def test_a_sqlite_that_is_locked_is_unavailable_and_still_an_operational_error(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path}/test.db"
    async with Database(url) as one, Database(url) as other, one.engine.begin() as connection:
        await connection.execute(text("BEGIN IMMEDIATE"))
        error = await error_of(run(other, "CREATE TABLE wanted (id int)"))
    assert isinstance(error, DatabaseUnavailable)
    assert isinstance(error, OperationalError)
    assert unavailable(type(error)) is type(error)  # who sees it again changes nothing


@pytest.fixture
def app(database_url, make_settings):
    app = FastAPI()
    service = Service(make_settings(Settings))
    service.add(Database(database_url))
    service.install(app)

    @app.get("/mistake")
    async def mistake(database: DatabaseDep) -> None:
        await run(database, MISTAKES[1])

    @app.get("/away")
    async def away() -> None:
        raise DatabaseUnavailable("away")

    return app


@both_databases
async def test_a_route_answers_500_for_its_mistake_and_503_for_the_database(client):
    with capture_logs() as logs:
        answers = [(await client.get(path)).status_code for path in ("/mistake", "/away")]
    assert answers == [500, 503]
    [line] = [entry for entry in logs if entry["log_level"] == "error"]
    assert line["event"] == "unhandled_exception"
    assert [entry for entry in logs if entry["event"] == "database_unavailable"]


async def test_a_connection_whose_ping_gets_no_answer_is_replaced(postgresql_url):
    async with Database(postgresql_url, connections=1) as database:
        dialect: Any = database.engine.sync_engine.dialect
        pids, ping = [], dialect.do_ping

        def silent(_):
            raise TimeoutError

        for do_ping in (ping, in_time(silent), ping):
            dialect.do_ping = do_ping
            async with database.engine.connect() as connection:
                pids.append(await connection.scalar(text("SELECT pg_backend_pid()")))
    assert pids[0] != pids[1] == pids[2]


async def test_a_time_out_without_words_is_told_as_one():
    error = unavailable(OperationalError)("SELECT 1", None, TimeoutError())
    error.__cause__ = TimeoutError()
    request: Any = SimpleNamespace(scope={"type": "http", "path": "/", "headers": []})
    with capture_logs() as logs:
        assert (await database_unavailable(request, error)).status_code == 503
    assert logs[0]["error"] == "TimeoutError"


async def test_how_long_a_statement_may_take_is_said_where_the_database_is_made(postgresql_url):
    async with Database(postgresql_url, command_seconds=0.2) as database:
        assert isinstance(await error_of(run(database, "SELECT pg_sleep(5)")), DatabaseUnavailable)
    async with Database(postgresql_url, command_seconds=None) as database:
        await run(database, "SELECT pg_sleep(0.5)")
