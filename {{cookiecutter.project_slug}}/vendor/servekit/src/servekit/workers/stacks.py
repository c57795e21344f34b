"""Where every thread and every task of a worker stands."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from servekit.awaits import awaits


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
    """Yield the lines of a task's stack, outermost first, and at last what it waits for."""
    awaited: Any = None
    for awaited, frame in awaits(task):  # noqa: B007 - the last one is what it waits for
        if frame is not None:
            summary = traceback.StackSummary.extract([(frame, frame.f_lineno)])
            yield from summary.format()
    if isinstance(awaited, asyncio.Future):
        yield f"  waits for {awaited!r}\n"
