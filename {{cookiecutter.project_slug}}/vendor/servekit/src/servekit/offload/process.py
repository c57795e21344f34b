"""One offload process, seen from the web worker: start it, call it, kill it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self, cast

from servekit.offload.errors import OffloadCrashed, RemoteTraceback
from servekit.offload.frames import FrameReader, Outcome, unpack

START_SECONDS = 30.0
REAP_SECONDS = 1.0


class OffloadProcess(asyncio.Protocol):
    """A process that runs one call at a time; `on_end` is told when it is gone, however."""

    def __init__(self, on_end: Callable[[OffloadProcess], None]) -> None:
        self._process: subprocess.Popen[bytes]
        self._transport: asyncio.Transport
        self.calls = 0
        self.idle_since = 0.0
        self.rss_bytes = 0
        self.ended = False
        self._on_end = on_end
        self._reader = FrameReader()
        self._answer: asyncio.Future[bytes] | None = None
        self._reaped: asyncio.Future[int] | None = None

    @classmethod
    async def start(cls, startup: bytes, on_end: Callable[[OffloadProcess], None]) -> Self:
        """Start a process and wait until it is ready; raise `OffloadCrashed` if it never is."""
        loop = asyncio.get_running_loop()
        self = cls(on_end)
        ours, theirs = socket.socketpair()
        # In a thread, as starting waits for the exec; and plain `Popen`, whose end is seen as the
        # end of the socket, so no child watcher and no SIGCHLD handler of any loop is involved.
        spawning = loop.run_in_executor(None, _spawn, theirs)
        try:
            self._process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            ours.close()
            spawning.add_done_callback(_kill_spawned)
            await asyncio.wait([spawning])  # the loop may end with us: nobody would hear of it then
            raise
        ours.setblocking(False)
        try:
            self._transport, _ = await loop.create_unix_connection(lambda: self, sock=ours)
        except asyncio.CancelledError:
            ours.close()
            self._process.kill()
            await self._reap()
            raise
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ask(startup)
        except BaseException:
            await self.end(kill=True)
            raise
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, frame: bytes) -> Any:
        """Return or raise what the packed call returned or raised.

        Raises `OffloadCrashed` if the process dies. Cancelled, it leaves the process running.
        """
        self.calls += 1
        outcome: Outcome = unpack(await self._ask(frame))
        self.rss_bytes = outcome.rss_bytes
        if outcome.error is not None:
            raise outcome.error from RemoteTraceback(outcome.trace)
        return outcome.value

    async def end(self, *, kill: bool) -> None:
        """End the process, at once if `kill`, else when it sees its socket closed; reap it."""
        self.ended = True
        self._transport.abort()
        if kill:
            self._process.kill()
        await self._reap()

    async def _ask(self, frame: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise await self._crash()
        self._transport.write(frame)
        try:
            return await self._answer
        except ConnectionResetError:
            raise await self._crash() from None

    async def _crash(self) -> OffloadCrashed:
        code = await self._reap()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return OffloadCrashed(f"Offload process {self.pid} {how}.")

    async def _reap(self) -> int:
        if self._reaped is None:
            loop = asyncio.get_running_loop()
            self._reaped = loop.run_in_executor(None, _reap, self._process)
        return await asyncio.shield(self._reaped)

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        for body in self._reader.feed(data):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.ended = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())
        self._on_end(self)


def _spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    # -P with our own path: the worker imports what we can import, and nothing from its folder.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - text
    command = [sys.executable, "-P", "-m", "servekit.offload.worker", str(channel.fileno())]
    with channel:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[channel.fileno()],
            env=os.environ | {"PYTHONPATH": path},
        )


def _kill_spawned(spawning: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    if spawning.exception() is None:
        spawning.result().kill()
        spawning.result().wait()


def _reap(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(REAP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
