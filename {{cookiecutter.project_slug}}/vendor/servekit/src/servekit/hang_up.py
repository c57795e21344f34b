"""How a request is told to end: its client has left, or its time is over."""

from __future__ import annotations

import asyncio

READS = frozenset({"GET", "HEAD"})
"""Methods of requests that end when nobody waits for the answer; a write may be half done."""
HUNG_UP = "The client hung up."
LATE = "The time of the request is over."


def is_hang_up(error: BaseException | None) -> bool:
    """Tell whether a task was cancelled because its client left."""
    return isinstance(error, asyncio.CancelledError) and error.args == (HUNG_UP,)


def ends_request(error: asyncio.CancelledError) -> bool:
    """Tell whether a request was cancelled by us, and not its task by whoever waits for it."""
    return error.args in {(HUNG_UP,), (LATE,)}
