"""Where a worker stands: its threads and tasks, and which requests run at which own line."""

from __future__ import annotations

import asyncio
import io
import itertools
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from servekit.awaits import awaits
from servekit.foreign.uvicorn import served_by
from servekit.own_code import is_own
from servekit.thread_frames import current_frames

if TYPE_CHECKING:
    from servekit.foreign.uvicorn import RequestResponseCycle

OLDEST = 20
"""Requests that are told of."""
TASKS_MAX = 2000
"""Tasks among which they are sought: each takes a microsecond of the loop."""
STACKS_MAX = 1000
"""Tasks whose stacks are told."""


def running_requests(
    oldest: list[tuple[float, RequestResponseCycle]],
    tasks: Collection[asyncio.Task[Any]],
    route_of: Callable[[Any], str],
) -> list[dict[str, Any]]:
    """Return requests and their ages as `method`, `route`, `path`, `seconds` and `place`.

    The place is `file:line function`, and what that awaits; empty where no own code waits: it runs
    in a thread, say.
    """
    sought = itertools.islice(tasks, TASKS_MAX) if oldest else ()
    task_of = {id(served_by(task)): task for task in sought}
    return [
        {
            "method": cycle.scope["method"],
            "route": route_of(cycle.scope) or cycle.scope["path"],
            "path": cycle.scope["path"],
            "seconds": round(seconds, 1),
            "place": own_place(task_of.get(id(cycle))),
        }
        for seconds, cycle in oldest
    ]


def own_place(task: asyncio.Task[Any] | None) -> str:
    """Return where the innermost own code of a suspended task waits, and for which call."""
    place = awaited = ""
    for _, frame in awaits(task) if task is not None else ():
        if frame is None:
            continue
        if is_own(frame.f_code.co_filename):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
            awaited = ""
        elif place and not awaited:
            awaited = f" awaits {frame.f_code.co_qualname}"
    return place + awaited


def all_stacks() -> str:
    """Return the stack of every thread, and of every task of the running loop what it awaits."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    with current_frames() as frames:
        stacks = {ident: "".join(traceback.format_stack(frames[ident])) for ident in frames}
    for ident, stack in stacks.items():
        out.write(f"Thread {names.get(ident, ident)}:\n{stack}\n")
    tasks = asyncio.all_tasks()
    for task in itertools.islice(tasks, STACKS_MAX):
        out.write(f"{task!r}:\n{''.join(task_stack(task))}\n")
    if (others := len(tasks) - STACKS_MAX) > 0:
        out.write(f"and {others} tasks more\n")
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
