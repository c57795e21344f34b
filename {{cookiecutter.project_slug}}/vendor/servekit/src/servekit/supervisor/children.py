"""The supervisor's child processes: how they are started, and how their ends are heard of."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from servekit import signals
from servekit.interpreter import own_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servekit.edge.connection_counts import ConnectionCounts
    from servekit.supervisor.program import SupervisorConfig

PR_SET_CHILD_SUBREAPER = 36


class ChildSpawner:
    """Starts children with what all of them are told: program, limits and inherited sockets."""

    def __init__(
        self, config: SupervisorConfig, listeners: list[socket.socket], counts: ConnectionCounts
    ) -> None:
        self._fds = [*(listener.fileno() for listener in listeners), counts.fd]
        self._message = {
            "program": config.program,
            "arguments": config.arguments,
            "listeners": [listener.fileno() for listener in listeners],
            "counts": counts.fd,
            "limits": asdict(config.limits),
            "parent": os.getpid(),
        }

    def boot(self, **details: object) -> str:
        """Return what a child is told at its start, as JSON in one line."""
        return json.dumps(self._message | details)

    def start(self, module: str, fds: list[int], **details: object) -> subprocess.Popen[bytes]:
        """Start a Python module as a child that inherits the sockets and these descriptors.

        Signals wait until it lets them in: Ctrl-C would end its imports with a trace.
        """
        environment = os.environ | {"SERVEKIT_BOOT": self.boot(**details)}
        command = [sys.executable, *own_flags(), "-m", module]
        with signals.held():
            return subprocess.Popen(command, pass_fds=[*self._fds, *fds], env=environment)


@dataclass(frozen=True)
class ZygoteProcess:
    """The process of a zygote, and our end of its control socket; `fd` is its own end there."""

    pid: int
    exited: asyncio.Future[int]
    control: socket.socket
    fd: int

    @classmethod
    def start(cls, spawner: ChildSpawner, reaper: Reaper, ahead: Sequence[str] = ()) -> Self:
        """Start it; with modules to import `ahead` it is told later what to load."""
        control, theirs = socket.socketpair()
        fd = theirs.fileno()
        try:
            with theirs:
                told = {"control": fd, "ahead": ahead, "since": time.time_ns()}
                process = spawner.start("servekit.worker.zygote", [fd], **told)
        except BaseException:
            control.close()
            raise
        exited = reaper.watch(process.pid)
        exited.add_done_callback(lambda future: setattr(process, "returncode", future.result()))
        control.setblocking(False)
        return cls(process.pid, exited, control, fd)

    def kill(self) -> None:
        """End it at once, if it lives."""
        if not self.exited.done():
            os.kill(self.pid, signal.SIGKILL)


class Reaper:
    """Collects every child that ended and tells whoever waits for it."""

    def __init__(self) -> None:
        self.on_orphan: Callable[[int, int], None] = lambda _pid, _code: None
        """Called with a child that nobody watches: a worker whose zygote died, or a stranger."""
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def watch(self, pid: int) -> asyncio.Future[int]:
        """Return the future exit code of a child; negative for a signal."""
        return self._waiting.setdefault(pid, asyncio.get_running_loop().create_future())

    async def end_all(self, seconds: float) -> None:
        """Wait until every watched child has ended; kill those that have not when time is up."""
        if self._waiting:
            await asyncio.wait(self._waiting.values(), timeout=seconds)
        for pid in self._waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Collect all that ended; call it on SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            future = self._waiting.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if future is None:
                self.on_orphan(pid, code)
            elif not future.done():
                future.set_result(code)


def adopt_orphans() -> None:
    """Become the parent of workers whose zygote died; Linux only, elsewhere init takes them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
