"""A service that runs with its workers, as people and orchestrators start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from servekit.testing.guarded import guarded
from servekit.testing.speed import PATIENT_WITH_REDIS, patience

START_SECONDS = 20.0
STOP_SECONDS = 30.0
KEPT = ("PATH", "HOME", "LANG")
"""Variables of the test's environment that a service may need; all else is given."""


class RunningService:
    """A process that serves: `url`, `admin_url`, `process`, and all that it has logged so far."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        ports: tuple[int, int],
        admin_token: str = "",
        before: int = 0,
    ) -> None:
        self.process = process
        self._admin_token = admin_token
        self.url, self.admin_url = (f"http://127.0.0.1:{port}" for port in ports)
        self._log = log
        self._before = before

    @property
    def log(self) -> str:
        """What the service has written so far."""
        with self._log.open("rb") as file:
            file.seek(self._before)
            return file.read().decode("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's events of a name, as far as they are JSON."""
        found = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("event") == name:
                    found.append(record)
        return found

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until all workers answer; fail with its log if it ends before, or takes too long."""
        deadline = time.monotonic() + patience(seconds)
        while not (answers(f"{self.url}/readyz") and self._workers_are_ready()):
            code = self.process.poll()
            assert code is None, f"exit {code} at start:\n{self.log}"  # noqa: S101 - it fails a test
            assert time.monotonic() < deadline, f"not ready in time:\n{self.log}"  # noqa: S101
            time.sleep(0.02)

    def _workers_are_ready(self) -> bool:
        if self.admin_url.endswith(":0"):
            return True  # nobody is there to ask
        headers = {"authorization": f"Bearer {self._admin_token}"}
        request = urllib.request.Request(f"{self.admin_url}/workers", headers=headers)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=patience(1)) as answer:  # noqa: S310 - our own
                return all(worker["state"] == "ready" for worker in json.load(answer)["workers"])
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return True  # the token is in a file, and none of ours
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(patience(seconds))


class StartService(Protocol):
    """Starts `python -m module` and waits until all its workers are ready.

    `folder` is where it runs, a new one unless given; `environment` are settings, by their names in
    capitals. There are two workers unless WORKERS says otherwise.
    """

    def __call__(
        self, module: str = "service", *, folder: Path | None = None, **environment: object
    ) -> RunningService: ...


@pytest.fixture
def start_service(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartService]:
    """Start services on free ports, with the Redis of the test and wide time limits for it.

    They end with the test, also when it is killed.
    """
    with contextlib.ExitStack() as stack:

        def start(
            module: str = "service", *, folder: Path | None = None, **environment: object
        ) -> RunningService:
            folder = folder or tmp_path_factory.mktemp("service")
            patient = {name.upper(): value for name, value in PATIENT_WITH_REDIS.items()}
            given = {"REDIS_URL": redis_url} | patient | environment
            return stack.enter_context(running(module, folder, given))

        yield start


@contextlib.contextmanager
def running(module: str, folder: Path, environment: dict[str, object]) -> Iterator[RunningService]:
    """Run a service in a folder, with only the variables given and what they leave out."""
    with reserved_port() as port, reserved_port() as admin_port:
        given = {name: os.environ[name] for name in KEPT if name in os.environ}
        if path := os.environ.get("PYTHONPATH"):  # what the tests import is what is started
            given["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
        given |= {"ENVIRONMENT": "test", "LOG_FORMAT": "json", "WORKERS": "2"}
        given |= {"PORT": str(port), "ADMIN_PORT": str(admin_port)}
        given |= {name: str(value) for name, value in environment.items()}
        log = folder / "service.log"
        before = log.stat().st_size if log.exists() else 0  # of a service that ran there earlier
        command = [sys.executable, "-m", module]
        with (
            log.open("ab") as output,
            guarded(
                command,
                cwd=folder,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            ports = int(given["PORT"]), int(given["ADMIN_PORT"])
            token = given.get("ADMIN_TOKEN", "")
            service = RunningService(process, log, ports, token, before)
            service.wait_until_ready()
            yield service


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a free port that nobody else is given meanwhile; who asks for it by number may listen.

    That is so on Linux. Elsewhere it is free when it is yielded, no more.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


def answers(url: str) -> bool:
    """Tell whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=patience(1)) as response:  # noqa: S310 - our own
            return bool(response.status == 200)  # noqa: PLR2004 - OK
    except urllib.error.HTTPError as answer:
        answer.close()
        return False
    except OSError:  # and its URLError
        return False
