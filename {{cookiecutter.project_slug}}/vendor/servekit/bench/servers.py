"""Start the servers that are compared, each on the CPU it is pinned to."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from chaos.program import OWN_APP, OWN_SETTINGS
from servekit.testing.guarded import process_group

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0


class Server:
    """A running server: its base URL, the process and the seconds to its first answer."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], start_seconds: float) -> None:
        self.url = url
        self.process = process
        self.start_seconds = start_seconds

    def pss_mib(self) -> list[float]:
        """Return the proportional set size of every process of the server, largest last."""
        pids = [self.process.pid, *_descendants(self.process.pid)]
        return sorted(filter(None, (_pss_mib(pid) for pid in pids)))


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    command: list[str],
    *,
    port: int,
    path: str,
    cpu: int | None,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run `command` until the block, or this process, ends; enters when it is ready."""
    pin = ["taskset", "-c", str(cpu)] if cpu is not None and shutil.which("taskset") else []
    start = time.perf_counter()
    with process_group() as group:
        process = subprocess.Popen(
            [*pin, *command],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=group,
        )
        try:
            _wait_for(port, path, process)
            yield Server(f"http://127.0.0.1:{port}", process, time.perf_counter() - start)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def service(
    *,
    redis_url: str,
    cpu: int | None,
    app: str = OWN_APP,
    settings: str = OWN_SETTINGS,
    **environ: str,
) -> contextlib.AbstractContextManager[Server]:
    """Start a service with one worker and its defaults, everything on: the library's own, or `app`.

    `app` and `settings` are import strings, as `servekit.main` takes them.
    """
    port = free_port()
    variables = {
        "PORT": str(port),
        "ADMIN_PORT": str(free_port()),
        "WORKERS": "1",
        "REDIS_URL": redis_url,
        "LOG_FORMAT": "json",
        **environ,
    }
    program = f"import sys, servekit; sys.exit(servekit.main({app!r}, settings={settings!r}))"
    command = [sys.executable, "-c", program]
    return started(command, port=port, path="/readyz", environ=variables, cpu=cpu)


def bare(
    app: str = "bench.bare:app", *more: str, path: str = "/", cpu: int | None, **environ: str
) -> contextlib.AbstractContextManager[Server]:
    """Start an application on uvicorn alone, with one worker and no access log.

    `path` is what says that it is ready; empty takes a connection for it, and asks nothing.
    """
    port = free_port()
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning", *more]
    command = [sys.executable, "-m", "uvicorn", app, *options]
    return started(command, port=port, path=path, environ=environ, cpu=cpu)


def _wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until `path` answers 200; without one, until a connection is accepted."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(
                f"{process.args!r} ended with {process.returncode} before it answered."
            )
        with contextlib.suppress(OSError):
            if _ready(port, path):
                return
        time.sleep(0.02)
    raise SystemExit(f"Port {port} did not answer within {START_SECONDS:g} s.")


def _ready(port: int, path: str) -> bool:
    if not path:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
        return bool(answer.status == 200)  # noqa: PLR2004 - the status that means ready


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    direct = [int(child) for child in children.read_text().split()] if children.exists() else []
    return direct + [below for child in direct for below in _descendants(child)]


def _pss_mib(pid: int) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return None
