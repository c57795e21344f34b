"""Start the service of a case, and have the doctor look at it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servekit.admin.client import AdminClient, AdminError
from servekit.diagnosis.doctor import Examination, examine
from servekit.diagnosis.requests_file import Request
from servekit.testing.guarded import guarded
from servekit.testing.running_service import KEPT, reserved_port
from servekit.testing.speed import patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
PIPE_BYTES = 4096
F_SETPIPE_SZ = 1031
SLOW_READ_SECONDS = 0.12


@dataclass(frozen=True)
class Running:
    """A service that is ready."""

    port: int
    admin_port: int
    worker_pids: list[int]
    settings: Mapping[str, str]

    def examine(self, path: str, rate: float, seconds: float) -> dict[str, Any]:
        """Return the doctor's document on it; without a rate no requests are sent."""
        with tempfile.TemporaryDirectory() as folder:
            written = str(Path(folder) / "seen.json")
            client = AdminClient("127.0.0.1", self.admin_port)
            wanted = Examination(
                seconds,
                base=f"http://127.0.0.1:{self.port}",
                requests=(Request("GET", path),) if rate else (),
                rate=rate,
                json=written,
            )
            examine(client, wanted)
            document: dict[str, Any] = json.loads(Path(written).read_text())
            return document


@contextlib.contextmanager
def started(settings: Mapping[str, object], *, slow_log: bool) -> Iterator[Running]:
    """Run the application of a case, and read its log slowly or not at all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        reserved_port() as port,
        reserved_port() as admin_port,
        log_reader(slow=slow_log) as log,
    ):
        given = {name: os.environ[name] for name in KEPT if name in os.environ}
        given |= {"ENVIRONMENT": "test", "LOG_FORMAT": "json", "WORKERS": "2"}
        given |= {"PORT": str(port), "ADMIN_PORT": str(admin_port)}
        given |= {"PYTHONPATH": str(ROOT)}
        given |= {name: str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "doctor_matrix.program"]
        with guarded(
            command, cwd=folder, env=given, stdout=log, stderr=subprocess.DEVNULL
        ) as process:
            rows = workers_when_ready(process, AdminClient("127.0.0.1", admin_port))
            yield Running(port, admin_port, [row["pid"] for row in rows], given)


def workers_when_ready(
    process: subprocess.Popen[bytes], client: AdminClient
) -> list[dict[str, Any]]:
    """Wait until all workers of a service are ready, and return what it tells of them."""
    deadline = time.monotonic() + patience(START_SECONDS)
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(AdminError):
            rows = client.workers()
            if {row["state"] for row in rows} == {"ready"}:
                return rows
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start: exit code {process.poll()}")


@contextlib.contextmanager
def log_reader(*, slow: bool) -> Iterator[int]:
    """Yield what a service may write its log to; slowly it is read after it has started."""
    if not slow:
        null = os.open(os.devnull, os.O_WRONLY)
        yield null
        os.close(null)
        return
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, F_SETPIPE_SZ, PIPE_BYTES)
    ended = threading.Event()

    def read_on() -> None:
        while os.read(ours, PIPE_BYTES):
            ended.wait(SLOW_READ_SECONDS)

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        yield theirs
    finally:
        ended.set()
        os.close(theirs)
        thread.join()
        os.close(ours)
