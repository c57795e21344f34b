"""A time limit that tells a silent server from a busy worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

LATE_SECONDS = 0.02
"""A timer this late means that the event loop stood still: answers may lie unread."""

STRETCH = 2
"""The limit is stretched at most to this multiple."""


class TimeLimit:
    """Cancels the body after `seconds` and raises TimeoutError, as asyncio.timeout does.

    The limit is stretched, at most to twice its length, while `lively()` says that the server
    answers others, and for a moment after the event loop stood still: a burst of our own must not
    look like a server that is down.
    """

    def __init__(self, seconds: float, lively: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._lively = lively
        self._expired = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A time limit needs a task.")
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._seconds
        self._end = self._due + self._seconds * (STRETCH - 1)
        self._timer = self._loop.call_at(self._due, self._expire)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if not self._expired:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        now = self._loop.time()
        if now - self._due > LATE_SECONDS:
            self._due = now + LATE_SECONDS
        elif now < self._end and self._lively():
            self._due = min(now + self._seconds / 4, self._end)
        else:
            self._expired = True
            self._task.cancel()
            return
        self._timer = self._loop.call_at(self._due, self._expire)
