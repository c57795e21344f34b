"""A PostgreSQL server for the tests, in a folder of its own, reached by a unix socket."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

OPTIONS = "-c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c max_connections=30"


def binaries() -> Path | None:
    """Return the folder of `initdb`, which Debian keeps off the PATH; None if there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server and yield the URL of its database."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as home:
        data = f"{home}/data"
        # The server refuses to run as root.
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            shutil.chown(home, user)

        def run(program, *arguments):
            command = [str(folder / program), *arguments]
            # A file, as the server would keep a pipe of ours open.
            with Path(home, "output").open("ab") as output:
                subprocess.run(
                    command, check=True, cwd=home, stdout=output, stderr=output, user=user
                )

        run("initdb", "-D", data, "-U", "service", "-A", "trust", "-N", "--no-instructions")
        run("pg_ctl", "-D", data, "-w", "-l", f"{home}/log", "-o", f"{OPTIONS} -k {home}", "start")
        try:
            yield f"postgresql+asyncpg://service@/postgres?host={home}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
