"""How a request is told to end: its client has left, or its time is over."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from servekit.awaits import awaits

READS = frozenset({"GET", "HEAD"})
"""Methods of requests that end when nobody waits for the answer; a write may be half done."""
HUNG_UP = "The client hung up."
LATE = "The time of the request is over."
GIVING_BACK = AsyncExitStack.__aexit__.__code__
"""Where FastAPI ends dependencies that `yield`."""


def is_hang_up(error: BaseException | None) -> bool:
    """Tell whether a task was cancelled because its client left."""
    return isinstance(error, asyncio.CancelledError) and error.args == (HUNG_UP,)


def ends_request(error: asyncio.CancelledError) -> bool:
    """Tell whether a request was cancelled by us, and not its task by whoever waits for it."""
    return error.args in {(HUNG_UP,), (LATE,)}


def end_request(task: asyncio.Task[Any], reason: str) -> None:
    """Cancel a request, unless it gives back what its dependencies took, which none may disturb."""
    if not any(frame is not None and frame.f_code is GIVING_BACK for _, frame in awaits(task)):
        task.cancel(reason)
