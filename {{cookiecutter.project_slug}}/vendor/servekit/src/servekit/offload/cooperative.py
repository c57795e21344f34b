"""Long loops that let the event loop breathe, by time and not by count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


class Checkpoint:
    """A point to await inside a long computation; gives way once `budget_seconds` are used up.

    `pause = Checkpoint()`, then `await pause()` as often as you like: about 0.4 us when not due.
    """

    def __init__(self, budget_seconds: float = 0.001) -> None:
        self._budget_seconds = budget_seconds
        self._due = time.monotonic() + budget_seconds

    async def __call__(self) -> None:
        if time.monotonic() >= self._due:
            await asyncio.sleep(0)
            self._due = time.monotonic() + self._budget_seconds


async def cooperatively(iterable: Iterable[T], budget_seconds: float = 0.001) -> AsyncIterator[T]:
    """Iterate a plain iterable, giving way to the event loop after each `budget_seconds` of work.

    What the loop body computes counts too. One item that takes longer is beyond its power: hand
    that to `Processes`.
    """
    due = time.monotonic() + budget_seconds
    for item in iterable:
        yield item
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + budget_seconds
