"""Long loops that let the event loop breathe, by time and not by count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


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
