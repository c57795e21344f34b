"""Start what is under test: the service, and the plain one beside it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from chaos.routes.source import Source
from chaos.traffic.client import Answer, Connection, Request
from chaos.traffic.cpus import on_cpu
from servekit.testing.guarded import process_group
from servekit.testing.running_service import reserved_port

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 60.0


class Running:
    """A started service: where it listens, its processes and its log."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        admin_port: int,
        log: Path,
        routes: tuple[str, ...] = (),
    ) -> None:
        self.process = process
        self.port = port
        self.admin_port = admin_port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._routes = routes
        self.source = Source(log.parent)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def folder(self) -> Path:
        """What it writes beside its answers: database, log, and what the routes of chaos note."""
        return self._log.parent

    @property
    def log(self) -> str:
        """Everything written so far."""
        return self._log.read_text(errors="replace")

    def traffic(self, *usual: Request) -> list[Request]:
        """Return what ordinary clients ask for: the routes that were named, or the usual ones."""
        return [Request(path) for path in self._routes] or list(usual)

    def break_program(self, broken: bool) -> None:
        """Make the program raise at its next start, or not."""
        flag = self._log.parent / "broken"
        flag.touch() if broken else flag.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process that was started."""
        self.process.send_signal(number)

    async def get(self, path: str, *, admin: bool = False, seconds: float = 5) -> Answer:
        """Ask on a new connection."""
        return await self.exchange(Request(path), admin=admin, seconds=seconds)

    async def exchange(
        self, request: Request, *, admin: bool = False, seconds: float = 5
    ) -> Answer:
        """Send any request on a new connection; the answer may come before all of it is sent."""
        address = ("127.0.0.1", self.admin_port) if admin else self.address
        last = replace(request, headers=(*request.headers, ("Connection", "close")))
        async with asyncio.timeout(seconds):
            connection = await Connection.open(address)
            try:
                return await connection.exchange(last)
            finally:
                connection.close()

    async def metric(self, name: str, labels: str = "") -> dict[str, float]:
        """Return a metric's value by worker, of the series whose labels hold the text `labels`."""
        text = (await self.get("/metrics", admin=True)).body.decode()
        found: dict[str, float] = {}
        for series, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
            worker = re.search(r'worker="(\d+)"', series)
            if worker and labels in series:
                found[worker[1]] = found.get(worker[1], 0) + float(value)
        return found

    async def pids(self, workers: int = 2, seconds: float = 5) -> set[int]:
        """Return the processes that answer, asked on many connections until `workers` are found."""
        found: set[int] = set()
        until = time.monotonic() + seconds
        while len(found) < workers and time.monotonic() < until:
            asked = [self.get("/chaos/ping", seconds=1) for _ in range(20)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            found |= {one.worker for one in answers if isinstance(one, Answer)} - {0}
        return found

    async def exit_code(self, seconds: float = STOP_SECONDS) -> int | None:
        """Wait for the end; None when it does not come in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (code := self.process.poll()) is not None:
                return code
            await asyncio.sleep(0.02)
        return None


class Target:
    """A way to start a service; `name` heads its column, `short` cases take fewer seconds."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environ: dict[str, str],
        *,
        routes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.short = False
        self.routes = routes
        self.seconds = 0.0
        """How long cases take that can take any time; 0: as long as they do."""
        self._command = command
        self._environ = environ

    def shortened(self) -> Target:
        """Return the same, for short versions of the cases."""
        other = copy.copy(self)
        other.short = True
        return other

    def pace(self, full: float, short: float) -> float:
        """Return how long or how often something happens in this version of a case."""
        return short if self.short else full

    def length(self, full: float, short: float) -> float:
        """Return how many seconds a case takes that can take any time."""
        return self.seconds or self.pace(full, short)

    @property
    def plain(self) -> bool:
        return self.name == "plain"

    @contextlib.asynccontextmanager
    async def start(
        self,
        settings: Mapping[str, str] = MappingProxyType({}),
        *,
        ready: bool = True,
        files: int = 0,
        cpu: int | None = None,
        **more: str,
    ) -> AsyncIterator[Running]:
        """Start it on free ports, with `settings` and `more` of them in its environment.

        `files` is how many each process may open (0: as many as here); `cpu` is the one that it is
        kept on, if any.
        All of it is killed, however it stands, when the block ends, and when the suite is killed.
        """
        with (
            reserved_port() as port,
            reserved_port() as admin_port,
            tempfile.TemporaryDirectory(prefix="chaos-") as folder,
            process_group() as group,
        ):
            log = Path(folder) / "log"
            variables = {
                "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/chaos.db",
                **self._environ,
                "PORT": str(port),
                "ADMIN_PORT": str(admin_port),
                "CHAOS_FOLDER": folder,
                **settings,
                **more,
            }
            limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
            given = {"{port}": str(port), "{workers}": variables.get("WORKERS", "2")}
            with log.open("wb") as output, on_cpu(cpu):
                process = subprocess.Popen(  # noqa: ASYNC220 - starting takes a millisecond
                    [*limited, *(given.get(part, part) for part in self._command)],
                    cwd=ROOT,
                    env={**os.environ, **variables},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=group,
                )
            running = Running(process, port, admin_port, log, self.routes)
            try:
                if ready:
                    await until_ready(running)
                    if not self.plain:
                        await until_all_serve(running, int(variables["WORKERS"]))
                yield running
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
                process.wait()


async def until_ready(running: Running, seconds: float = START_SECONDS) -> float:
    """Wait for 200 on `/readyz`; returns the seconds it took.

    Raises:
        RuntimeError: It ended, or was not ready in time; the text holds its log.
    """
    begin = time.monotonic()
    while time.monotonic() < begin + seconds and running.process.poll() is None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            if (await running.get("/readyz", seconds=1)).status == 200:  # noqa: PLR2004
                return time.monotonic() - begin
        await asyncio.sleep(0.02)
    raise RuntimeError(f"It did not become ready.\n{running.log}")


async def until_all_serve(running: Running, workers: int, seconds: float = START_SECONDS) -> None:
    """Wait until every worker serves: the first one to be ready answers for all of them.

    Raises:
        RuntimeError: They do not in time; the text holds the log.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.process.poll() is None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            answer = await running.get("/workers", admin=True, seconds=1)
            states = [row["state"] for row in json.loads(answer.body)["workers"]]
            if states.count("ready") >= workers:
                return
        await asyncio.sleep(0.02)
    raise RuntimeError(f"{workers} workers did not become ready.\n{running.log}")


def rss_bytes(pids: set[int]) -> int:
    """Return the resident memory of processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def service(app: str = "", settings: str = "", routes: tuple[str, ...] = ()) -> Target:
    """Return the library's own application under all of its layers, or another one.

    Both are import strings, as `servekit.main` takes them. Another application keeps the
    DATABASE_URL of this environment. `routes` are paths that ordinary clients ask for.
    """
    environ = {"WORKERS": "2", "LOG_FORMAT": "json"}
    if app:
        environ |= {"CHAOS_APP": app, "CHAOS_SETTINGS": settings}
        if url := os.environ.get("DATABASE_URL"):
            environ["DATABASE_URL"] = url
    return Target("service", [sys.executable, "-m", "chaos.program"], environ, routes=routes)


PLAIN = Target(
    "plain",
    [
        *(sys.executable, "-m", "uvicorn", "chaos.plain.app:app"),
        *("--workers", "{workers}", "--port", "{port}"),
    ],
    {},
)
