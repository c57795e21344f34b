"""How a request is told that its client has left."""

from __future__ import annotations

import asyncio

HUNG_UP = "The client hung up."


def is_hang_up(error: BaseException | None) -> bool:
    """Tell whether a task was cancelled because its client left."""
    return isinstance(error, asyncio.CancelledError) and error.args == (HUNG_UP,)
