"""One offload process, seen from the web worker: start it, call it, kill it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Self, cast

from servekit import signals
from servekit.event_log import get_logger
from servekit.interpreter import own_flags
from servekit.offload.errors import OffloadCrashed, RemoteTraceback
from servekit.offload.frames import OWN_PATH, FrameReader, Outcome, unpack
from servekit.own_threads import in_own_thread

START_SECONDS = 30.0
REAP_SECONDS = 1.0
REAP_PAUSE_SECONDS = 0.002
PATHLESS = {"-E", "-I"}
"""Flags under which Python takes no path from the environment."""

log = get_logger()


class OffloadProcess(asyncio.Protocol):
    """A process that runs one call at a time; `on_end` is told when it is gone, however."""

    def __init__(self, on_end: Callable[[OffloadProcess], None]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self.calls = 0
        self.idle_since = 0.0
        self.rss_bytes = 0
        self.ended = False
        self._on_end = on_end
        self._reader = FrameReader()
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def start(cls, startup: bytes, on_end: Callable[[OffloadProcess], None]) -> Self:
        """Start a process and wait until it is ready; raise `OffloadCrashed` if it never is."""
        self = cls(on_end)
        ours, theirs = socket.socketpair()
        try:
            self._process = await _spawned(theirs)
            await self._connect(ours)
            async with asyncio.timeout(START_SECONDS):
                await self._ask(startup)
        except BaseException:
            if self._transport is None:
                ours.close()
            await self.end(kill=True)
            raise
        return self

    async def _connect(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_unix_connection(lambda: self, sock=channel)

    @property
    def busy(self) -> bool:
        """Whether a call runs, or something of its start."""
        return self._answer is not None and not self._answer.done()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def call(self, frame: bytes) -> Any:
        """Return or raise what the packed call returned or raised.

        Raises `OffloadCrashed` if the process dies. Cancelled, it leaves the process running: until
        `finish` has returned it takes no other call.
        """
        self.calls += 1
        outcome: Outcome = unpack(await self._ask(frame))
        self.rss_bytes = outcome.rss_bytes
        if outcome.error is not None:
            raise outcome.error from RemoteTraceback(outcome.trace)
        return outcome.value

    async def finish(self, seconds: float) -> None:
        """Wait for the end of a call whose caller is gone; an error that it raised is logged.

        Raises:
            TimeoutError: It takes longer.
            ConnectionResetError: The process died.
        """
        if self._answer is not None:
            async with asyncio.timeout(seconds):
                outcome: Outcome = unpack(await self._answer)
            if outcome.error is not None:
                outcome.error.__cause__ = RemoteTraceback(outcome.trace)
                log.error("abandoned_process_failed", exc_info=outcome.error)

    async def end(self, *, kill: bool) -> None:
        """End the process, at once if `kill`, else when it sees its socket closed; reap it."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()
        if self._process is not None:
            await self._reap(self._process, 0 if kill else REAP_SECONDS)

    async def _ask(self, frame: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            raise await self._crash()
        self._transport.write(frame)
        try:
            return await asyncio.shield(self._answer)
        except ConnectionResetError:
            raise await self._crash() from None

    async def _crash(self) -> OffloadCrashed:
        assert self._process is not None  # noqa: S101 - only a process that was started crashes
        code = await self._reap(self._process, REAP_SECONDS)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return OffloadCrashed(f"Offload process {self.pid} {how}.")

    @staticmethod
    async def _reap(process: subprocess.Popen[bytes], seconds: float) -> int:
        # Asked for again and again, as a thread that waits may be one more than the system allows.
        kill_at = time.monotonic() + seconds
        while (code := process.poll()) is None:
            if time.monotonic() >= kill_at:
                process.kill()
            await asyncio.sleep(REAP_PAUSE_SECONDS)
        return code

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
            self._answer.exception()  # seen, should the caller be gone
        self._on_end(self)


async def _spawned(channel: socket.socket) -> subprocess.Popen[bytes]:
    """Return a process at the other end of `channel`; none is left behind by who is cancelled."""
    # In a thread, as starting waits for the exec; and plain `Popen`, whose end is seen as the end
    # of the socket, so no child watcher and no SIGCHLD handler of any loop is involved.
    try:
        spawning = in_own_thread(_spawn, channel)
    except RuntimeError:
        channel.close()  # without a thread it stays in the executor's queue: then it fails
        raise
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        spawning.add_done_callback(_kill_spawned)
        await asyncio.wait([spawning])  # the loop may end with us: nobody would hear of it then
        raise


def _spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    # -P with our own path: the worker imports what we can import, and nothing from its folder.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - text
    flags = [flag for flag in own_flags() if flag not in PATHLESS]
    program = ("-P", "-m", "servekit.offload.worker", str(channel.fileno()))
    command = [sys.executable, *flags, *program]
    with channel, signals.held():  # until it can ignore them
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[channel.fileno()],
            env=os.environ | {"PYTHONPATH": path, OWN_PATH: os.environ.get("PYTHONPATH", "")},
        )


def _kill_spawned(spawning: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    if spawning.exception() is None:
        spawning.result().kill()
        spawning.result().wait()
