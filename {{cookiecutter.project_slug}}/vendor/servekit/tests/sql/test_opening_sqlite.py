"""Processes that open one new SQLite file at once wait for each other, and not for ever."""

import asyncio
import contextlib
import itertools
import sqlite3
import time
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from servekit.sql import Database, connecting
from servekit.testing import patience
from tests.sql.test_database import metadata


@contextlib.contextmanager
def written_by_another(path):
    """Be about to write to a database that keeps no log yet, as a worker that starts beside."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


async def test_a_new_sqlite_waits_for_who_writes_to_it(tmp_path):
    path = tmp_path / "test.db"
    with written_by_another(path) as other:
        database = Database(f"sqlite:///{path}", metadata)
        opening = asyncio.ensure_future(database.__aenter__())
        await asyncio.sleep(0.2)
        assert not opening.done()
        other.execute("COMMIT")
        async with asyncio.timeout(patience(5)):
            await opening
        await database.__aexit__()


async def test_a_new_sqlite_waits_no_longer_than_for_any_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 0.2)
    path = tmp_path / "test.db"
    with written_by_another(path):
        async with asyncio.timeout(patience(5)):
            with pytest.raises(OperationalError, match="database is locked"):
                await Database(f"sqlite:///{path}", metadata).__aenter__()


def test_who_stood_still_has_not_waited_for_a_new_sqlite(tmp_path, monkeypatch):
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 0.1)
    path = tmp_path / "test.db"
    with written_by_another(path) as other:
        connection = sqlite3.connect(path, timeout=0)
        pauses = itertools.count()

        def pause(_: object) -> None:
            match next(pauses):
                case 0:
                    time.sleep(0.3)  # as a process that is stopped
                case 1:
                    other.execute("COMMIT")

        paused = SimpleNamespace(run_async=pause)
        connecting.write_ahead(paused, connection.cursor())
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_no_try_to_open_a_sqlite_waits_as_long_as_all_of_them(tmp_path, monkeypatch):
    path = tmp_path / "test.db"
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 0.2)
    with written_by_another(path) as other:
        other.execute("INSERT INTO theirs VALUES (1)")
        other.execute("COMMIT")
        other.execute("BEGIN")
        other.execute("SELECT * FROM theirs").fetchall()  # it reads, as a backup does
        connection = sqlite3.connect(path, timeout=60)
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connecting.write_ahead(SimpleNamespace(run_async=lambda _: None), connection.cursor())
        assert time.monotonic() - began < patience(5)
        connection.close()
