"""A pooler that hands connections on between transactions: PgBouncer with pool_mode=transaction."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from servekit.sql import Database
from servekit.testing.running_service import reserved_port
from servekit.testing.speed import patience

SETTINGS = """[databases]
postgres = host={home} dbname=postgres user=service
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""
KEPT_SINCE = (1, 21)
"""From this version on it can keep statements, and from 1.24 on it does."""


@pytest.fixture
def program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    return found or pytest.skip("PgBouncer is not installed")


@pytest.fixture
def keeps_statements(program) -> bool:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    [major, minor, *_] = re.findall(r"\d+", told.stdout)
    return (int(major), int(minor)) >= KEPT_SINCE


@pytest.fixture
def pooler_url(program, keeps_statements, postgresql_url) -> Iterator[str]:
    """A pooler that keeps no statement."""
    with reserved_port() as port:
        more = "max_prepared_statements = 0\n" if keeps_statements else ""
        yield from pooler(program, postgresql_url, port, more)


@pytest.fixture
def keeping_pooler_url(program, keeps_statements, postgresql_url) -> Iterator[str]:
    if not keeps_statements:
        pytest.skip("PgBouncer keeps statements from 1.21 on")
    with reserved_port() as port:
        yield from pooler(program, postgresql_url, port, "max_prepared_statements = 200\n")


def pooler(program: str, postgresql_url: str, port: int, more: str) -> Iterator[str]:
    """Run PgBouncer before the server, and yield its URL."""
    file = Path(postgresql_url.partition("host=")[2]) / f"pgbouncer-{port}.ini"
    file.write_text(SETTINGS.format(home=file.parent, port=port) + more)
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with subprocess.Popen(
        [program, str(file)], user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            until_it_listens(port)
            yield f"postgresql://service@127.0.0.1:{port}/postgres"
        finally:
            running.terminate()


def until_it_listens(port: int) -> None:
    deadline = time.monotonic() + patience(10)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


async def ask_at_once(url: str) -> list[BaseException]:
    """Return what forty transactions at a time, of two pools, are told."""
    pools = [Database(url, wait_seconds=patience(10)) for _ in range(2)]

    async def ask(database: Database, number: int) -> None:
        async with database.engine.begin() as connection:
            question = text(f"SELECT {number}, CAST(:value AS int)")
            [row] = await connection.execute(question, {"value": number})
            assert tuple(row) == (number, number)

    questions = [ask(pool, number) for number in range(20) for pool in pools]
    try:
        told = await asyncio.gather(
            *questions, *map(ask, pools * 20, range(40)), return_exceptions=True
        )
    finally:
        for pool in pools:
            await pool.engine.dispose()
    return [each for each in told if each is not None]


async def test_every_transaction_gets_its_own_answer_where_the_url_names_a_pooler(pooler_url):
    assert await ask_at_once(f"{pooler_url}?pgbouncer=true") == []


async def test_before_one_that_keeps_statements_nothing_is_to_be_done(keeping_pooler_url):
    assert await ask_at_once(keeping_pooler_url) == []


async def test_where_it_does_not_no_answer_is_another_ones_and_the_error_names_the_remedy(
    pooler_url,
):
    told: list[BaseException] = []
    async with asyncio.timeout(patience(20)):
        while not told:  # names collide where transactions change their connections, as most do
            told = await ask_at_once(pooler_url)
    for error in told:
        assert isinstance(error, DBAPIError)
        assert "?pgbouncer=true" in str(error)


async def test_no_two_processes_name_a_services_statements_alike(postgresql_url):
    question = "SELECT name, statement FROM pg_prepared_statements"
    async with (
        Database(postgresql_url) as database,
        database.engine.connect() as connection,
    ):
        found = await connection.execute(text(question))
    [name] = [name for name, statement in found if statement == question]
    assert not name.startswith("__asyncpg_stmt_")  # the driver counts, and so alike in each process
