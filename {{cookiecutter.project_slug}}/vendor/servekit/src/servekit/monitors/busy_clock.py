"""How long the event loop was busy: exact where the loop shows it, else the best evidence."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Protocol

from servekit.monitors.system_calls import SmallFile


class BusyClock(Protocol):
    """Seconds that the loop's thread was busy, measured from call to call."""

    source: str

    def busy_seconds(self, elapsed: float, lag: float) -> float:
        """Return the busy part of the `elapsed` seconds since the last call; `lag` is their sum."""

    def close(self) -> None:
        """Undo what was patched or opened."""


def busy_clock(loop: asyncio.AbstractEventLoop) -> BusyClock:
    """Return the clock that suits the loop; call it in the loop's thread."""
    selector = getattr(loop, "_selector", None)
    return SelectorClock(selector) if selector is not None else ThreadClock()


class SelectorClock:
    """The standard library's loop: whatever is not spent in `select` is busy."""

    source = "selector"

    def __init__(self, selector: Any) -> None:
        self._selector = selector
        self._idle = 0.0
        self._select = selector.select
        selector.select = self._timed_select

    def busy_seconds(self, elapsed: float, lag: float) -> float:  # noqa: ARG002 - BusyClock's
        idle, self._idle = self._idle, 0.0
        return max(0.0, elapsed - idle)

    def close(self) -> None:
        self._selector.select = self._select

    def _timed_select(self, timeout: float | None = None) -> Any:
        started = time.monotonic()
        try:
            return self._select(timeout)
        finally:
            self._idle += time.monotonic() - started


class ThreadClock:
    """uvloop, which shows nothing: CPU and run-queue time of the thread, or lag if that is more."""

    source = "thread_cpu_and_lag"

    def __init__(self) -> None:
        self._wait = RunQueueWait(threading.get_native_id())
        self._measured = time.thread_time() + self._wait.seconds()

    def busy_seconds(self, elapsed: float, lag: float) -> float:
        measured, self._measured = self._measured, time.thread_time() + self._wait.seconds()
        return min(elapsed, max(self._measured - measured, lag))

    def close(self) -> None:
        self._wait.close()


class RunQueueWait:
    """Seconds that a thread was ready to run but had no CPU; always 0 where Linux does not tell."""

    def __init__(self, native_thread_id: int) -> None:
        try:
            path = f"/proc/self/task/{native_thread_id}/schedstat"
            self._file: SmallFile | None = SmallFile(path)
        except OSError:
            self._file = None

    @property
    def known(self) -> bool:
        """Whether the kernel tells."""
        return self._file is not None

    def seconds(self) -> float:
        """Return the time waited since the thread began; callable from any thread."""
        return self._read(1)

    def cpu_seconds(self) -> float:
        """Return the time that the thread ran; callable from any thread."""
        return self._read(0)

    def _read(self, field: int) -> float:
        if self._file is None:
            return 0.0
        try:
            return int(self._file.read().split()[field]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
