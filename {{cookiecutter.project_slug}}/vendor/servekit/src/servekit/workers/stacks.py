"""Where every thread and every task of a worker stands."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

DEPTH_MAX = 100
SUSPENDED = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)
"""The frame of a coroutine, generator and asynchronous generator, and what it waits for."""


def all_stacks() -> str:
    """Return the stack of every thread, and of every task of the running loop what it awaits."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way
        out.write(f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}\n")
    for task in asyncio.all_tasks():
        out.write(f"{task!r}:\n{''.join(task_stack(task))}\n")
    return out.getvalue()


def task_stack(task: asyncio.Task[Any]) -> Iterator[str]:
    """Yield the lines of a task's stack, outermost first, and at last what it waits for.

    `Task.get_stack` ends at the first coroutine.
    """
    awaited: Any = task.get_coro()
    for awaited, frame in awaits(task):  # noqa: B007 - the last one is told apart
        if frame is not None:
            summary = traceback.StackSummary.extract([(frame, frame.f_lineno)])
            yield from summary.format()
    if isinstance(awaited, asyncio.Future):
        yield f"  waits for {awaited!r}\n"


def awaits(task: asyncio.Task[Any]) -> Iterator[tuple[Any, FrameType | None]]:
    """Yield a task's coroutine, what it awaits, what that awaits…, each with its frame, if any."""
    awaited: Any = task.get_coro()
    for _ in range(DEPTH_MAX):
        frame, inner = suspension(awaited)
        yield awaited, frame
        if inner is None:
            return
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
