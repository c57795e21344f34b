"""The ends of child processes, adopted orphans included: what PID 1 owes to its children."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_CHILD_SUBREAPER = 36


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
