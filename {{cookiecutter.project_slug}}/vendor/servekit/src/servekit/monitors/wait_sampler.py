"""Samples where requests wait, down to the line and by route, in 1 % of the loop's time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from servekit.awaits import awaits
from servekit.lent import holdings, watched
from servekit.own_code import is_own

COST = 0.01
TASKS_DEEP = 20
TASKS_MAX = 200
"""Of one sample, drawn by lot: the loop stands still for it, about 5 ms."""
TURN = "(waits for its turn)"
NO_ROUTE = "(no route)"
HOLDS = "(holds a {})"

DescribeRequest = Callable[[FrameType, "asyncio.Task[Any] | None"], Mapping[str, str]]
"""Name the request whose code runs at a frame: `route`; {} if none."""


class WaitSampler:
    """Add up, in milliseconds, where the requests of the running loop stand.

    Each request counts once: what it waits for in other tasks is followed there, of several the
    first. Up to `hertz` samples a second, fewer where they would cost more than that.
    """

    def __init__(self, describe_request: DescribeRequest, *, hertz: float) -> None:
        self.milliseconds: Counter[tuple[str, ...]] = Counter()
        self._describe_request = describe_request
        self._hertz = hertz

    async def run(self, seconds: float) -> None:
        """Sample for so long; for the loop's own thread, as no task may move meanwhile."""
        last = time.perf_counter()
        ends = last + seconds
        pause = 1 / self._hertz
        with watched():
            while last < ends:
                # Irregular, or it would see always the same part of what comes at regular times.
                await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), ends - last))  # noqa: S311
                began, computed = time.perf_counter(), time.thread_time()
                self._sample((began - last) * 1000)
                pause = max(1 / self._hertz, (time.thread_time() - computed) / COST)
                last = began

    def collapsed(self) -> str:
        """Return `route;outer;inner milliseconds` lines, as flame-graph tools read them."""
        lines = [f"{';'.join(stack)} {count}" for stack, count in self.milliseconds.items()]
        return "\n".join([*lines, ""])

    def _sample(self, milliseconds: float) -> None:
        tasks = list(asyncio.all_tasks() - {asyncio.current_task()})
        if len(tasks) > TASKS_MAX:
            milliseconds *= len(tasks) / TASKS_MAX
            tasks = random.sample(tasks, TASKS_MAX)
        for task in tasks:
            route = self._route(task)
            if route is not None:
                self.milliseconds[route or NO_ROUTE, *places(task)] += round(milliseconds)

    def _route(self, task: asyncio.Task[Any]) -> str | None:
        for _, frame in awaits(task):
            request = self._describe_request(frame, None) if frame is not None else {}
            if "route" in request:
                return request["route"]
        return None


def places(task: asyncio.Task[Any]) -> list[str]:
    """Return what a task awaits, outermost first: from the first line of the program's own on.

    Without any it is all, most of them layers. What it holds meanwhile stands at the end.
    """
    found: list[str] = []
    own = None
    held: set[str] = set()
    for holder, frame in frames(task):
        held.update(holdings(holder))
        if frame is None:
            found.append(TURN)
            break
        code = frame.f_code
        if own is None and is_own(code.co_filename):
            own = len(found)
        found.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
    return found[own:] + [HOLDS.format(what) for what in sorted(held)]


def frames(task: asyncio.Task[Any]) -> Iterator[tuple[asyncio.Task[Any], FrameType | None]]:
    """Yield the frames of a task, and of those that it waits for, each with its task.

    None stands for one that could go on.
    """
    for _ in range(TASKS_DEEP):
        frame: FrameType | None = None
        awaited: Any = None
        for awaited, at in awaits(task):  # noqa: B007 - the last one is what it waits for
            if at is not None:
                frame = at
                yield task, at
        following = followed(awaited, frame)
        if following is None:
            if not isinstance(awaited, asyncio.Future) or awaited.done():
                yield task, None
            return
        task = following


def followed(awaited: Any, frame: FrameType | None) -> asyncio.Task[Any] | None:
    """Return the task that is waited for: itself, or one of a `gather`, `wait` or `TaskGroup`.

    What is read here is private, and named alike in Python 3.11 to 3.15.
    """
    candidates: list[Any] = [awaited, *(getattr(awaited, "_children", None) or ())]
    if frame is not None and frame.f_code in WAITING:
        variables = frame.f_locals
        candidates += variables.get("fs") or getattr(variables.get("self"), "_tasks", None) or ()
        candidates.append(variables.get("fut"))
    tasks = (one for one in candidates if isinstance(one, asyncio.Task) and not one.done())
    return next(tasks, None)


WAITING = {
    getattr(function, "__code__", None)
    for function in (
        asyncio.wait_for,
        asyncio.TaskGroup.__aexit__,
        getattr(asyncio.TaskGroup, "_aexit", None),
        getattr(asyncio.tasks, "_wait", None),
    )
}
"""What waits for a future of its own until tasks are done."""
