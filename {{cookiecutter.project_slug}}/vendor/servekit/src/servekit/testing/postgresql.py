"""A PostgreSQL server for the tests of a session, where its programs are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from servekit.redis.embedded import GUARD
from servekit.testing.speed import patience

START_SECONDS = 20.0
OPTIONS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=30")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a PostgreSQL of this session's own, tables of other tests included.

    Without `initdb`, on PATH or where Debian keeps it, the test is skipped.
    """
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    with server(folder) as url:
        yield url


def empty(url: str) -> None:
    """Drop everything that tests have put into the database."""
    home = parse_qs(urlsplit(url).query)["host"][0]
    folder = programs()
    assert folder is not None, "it was there when the server started"  # noqa: S101
    sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    command = [str(folder / "psql"), "-q", "-h", home, "-U", "service", "-d", "postgres", "-c", sql]
    subprocess.run(command, check=True, capture_output=True)


def programs() -> Path | None:
    """Return the folder of `initdb`, which Debian keeps off the PATH; None if there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a server on a unix socket in a folder of its own; it ends with us however we end."""
    home = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(home, user)
    data = f"{home}/data"

    def run(program: str, *arguments: str) -> int:
        command = [str(folder / program), *arguments]
        done = subprocess.run(command, cwd=home, user=user, capture_output=True, check=False)
        return done.returncode

    run("initdb", "-D", data, "-U", "service", "-A", "trust", "-N", "--no-instructions")
    options = [word for option in OPTIONS for word in ("-c", option)]
    command = [str(folder / "postgres"), "-D", data, "-k", home, *options]
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, home, *command],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        user=user,
    )
    try:
        deadline = time.monotonic() + patience(START_SECONDS)
        while run("pg_isready", "-q", "-h", home) != 0:
            assert time.monotonic() < deadline, "PostgreSQL did not start in time."  # noqa: S101
            time.sleep(0.05)
        yield f"postgresql+asyncpg://service@/postgres?host={home}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        guard.communicate()
