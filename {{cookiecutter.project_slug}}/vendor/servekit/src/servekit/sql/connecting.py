"""Connections to SQLite and PostgreSQL: what an address asks of the driver, and what we do."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from servekit.sql.errors import unavailable

if TYPE_CHECKING:
    from servekit.notation.database_url import DatabaseAddress

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
POSTGRESQL_PORT = 5432
CONNECT_SECONDS = 5
COMMAND_SECONDS = 30
LOCK_SECONDS = 5
POLL_SECONDS = 0.01


def url_of(address: DatabaseAddress) -> URL:
    """Return an address as SQLAlchemy has it, with our driver."""
    host, port = address.hosts[0] if len(address.hosts) == 1 else (None, None)
    return URL.create(
        DRIVERS[address.backend],
        username=address.username,
        password=address.password,
        host=None if host and host.startswith("/") else host,
        port=port,
        database=address.database or None,
    )


def place_of(address: DatabaseAddress) -> str:
    """Return where a database is, as people name it, and never who asks nor with which password."""
    if address.backend == "sqlite":
        return address.database or ":memory:"
    hosts = (
        host if host.startswith("/") else f"{host}:{port or POSTGRESQL_PORT}"
        for host, port in address.hosts
    )
    return f"{','.join(hosts) or 'local server'}/{address.database}"


def connect_arguments(
    address: DatabaseAddress, command_seconds: float | None = COMMAND_SECONDS
) -> dict[str, Any]:
    """Return time limits, and what the address asks for, in the words of the driver."""
    if address.backend == "sqlite":
        return {
            "timeout": LOCK_SECONDS,
            "async_creator_fn": connect_sqlite,
            "factory": ReleasingConnection,
        }
    arguments: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": command_seconds,
        "async_creator_fn": connect_postgresql,
        # Counted, as the driver does it, the names of two processes would meet behind a pooler.
        "prepared_statement_name_func": lambda: f"s{uuid4().hex}",
    }
    if len(address.hosts) > 1 or any(host.startswith("/") for host, _ in address.hosts):
        arguments["host"] = [host for host, _ in address.hosts]
        arguments["port"] = [port or POSTGRESQL_PORT for _, port in address.hosts]
    if address.tls:
        arguments["ssl"] = tls_of(address.tls)
    return arguments | address.arguments


class ReleasingConnection(sqlite3.Connection):
    """A connection whose end ends its transaction.

    What a cancelled statement still holds, SQLite would keep, and the lock of all writers with it.
    """

    def close(self) -> None:
        """Roll back and close."""
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


async def connect_sqlite(*arguments: Any, **options: Any) -> Any:
    """Open a file in a thread of its own; who gives up meanwhile leaves no open connection."""
    import aiosqlite  # of those who have one

    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does where it connects itself
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: done.exception() or connection.stop())
        raise
    except Exception:
        # Its thread answers once more, and to no loop that is closed by then.
        await asyncio.to_thread(connection._thread.join, LOCK_SECONDS)  # noqa: SLF001 - likewise
        raise


def tls_of(words: dict[str, str]) -> str | ssl.SSLContext:
    """Return what libpq's words ask of TLS; as there, an authority that is named is asked."""
    mode, authority = words["sslmode"], words.get("sslrootcert")
    if mode == "require" and authority:
        mode = "verify-ca"
    if len(words) == 1 and not mode.startswith("verify"):
        return mode
    context = ssl.create_default_context(cafile=None if authority == "system" else authority)
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    if certificate := words.get("sslcert"):
        context.load_cert_chain(certificate, words.get("sslkey"), words.get("sslpassword", ""))
    return context


async def connect_postgresql(**arguments: Any) -> Any:
    """Open a connection; a server that is away is the error that other databases raise then."""
    import asyncpg  # of those who have one

    try:
        return await asyncpg.connect(**arguments)
    except (OSError, asyncpg.PostgresError) as error:
        raise unavailable(OperationalError)("connect", None, error) from error


def in_time(ping: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a ping that takes silence for an end: asyncpg's own error is none that others know."""

    def answers(connection: Any) -> bool:
        try:
            return ping(connection)
        except TimeoutError:
            return False

    return answers


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers and one writer of several processes work side by side."""
    cursor = connection.cursor()
    write_ahead(connection, cursor)
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def write_ahead(connection: Any, cursor: Any) -> None:
    """Keep a log of what is written; SQLite itself waits for no one who is about to do the same."""
    tries = int(LOCK_SECONDS / POLL_SECONDS)
    cursor.execute("PRAGMA busy_timeout = 0")  # each try would wait as long as all shall
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            tries -= 1  # not by the clock: who stood still has tried nothing meanwhile
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not tries:
                raise
            connection.run_async(lambda _: asyncio.sleep(POLL_SECONDS))
        else:
            cursor.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
            return


def stop_once(connection: Any, _record: object) -> None:
    """Have a connection's thread told once to stop, whoever does so again.

    SQLAlchemy closes a connection whose query was cancelled, and stops it when it is cancelled once
    more. What the close asks of the thread that has ended by then would never be answered.
    """
    driver = connection.driver_connection
    stop = driver.stop
    answers: list[Any] = []

    def stop_if_running() -> Any:
        if not answers:
            answers.append(stop())
        return answers[0]

    driver.stop = stop_if_running
