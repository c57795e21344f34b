"""What a suspended task waits for, from its outermost coroutine inwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 100
SUSPENDED = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)
"""The frame of a coroutine, generator and asynchronous generator, and what it waits for."""


def awaits(task: asyncio.Task[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each thing awaited, outermost first, with its frame; None of what has no frame.

    `Task.get_stack` ends at the first coroutine.
    """
    awaited: Any = task.get_coro()
    for _ in range(DEPTH_MAX):
        if awaited is None:
            return
        frame, inner = suspension(awaited)
        yield awaited, frame
        awaited = inner


def suspension(awaited: Any) -> tuple[Any, Any]:
    """Return the frame of something awaited, if it has one, and what it awaits itself, if known."""
    for frame, inner in SUSPENDED:
        if hasattr(awaited, frame):
            return getattr(awaited, frame), getattr(awaited, inner)
    if isinstance(awaited, asyncio.Future):
        return None, None
    # What C makes for `await` and `async for` has no attribute that leads on, only a reference.
    for held in gc.get_referents(awaited):
        if isinstance(held, asyncio.Future) or any(hasattr(held, frame) for frame, _ in SUSPENDED):
            return None, held
    return None, None
