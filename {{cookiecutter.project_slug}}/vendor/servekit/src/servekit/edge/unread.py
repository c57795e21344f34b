"""What is sent of an answer whose client has left: it is dropped, and a long read is ended."""

from __future__ import annotations

import asyncio
from typing import Any

from servekit.hang_up import HUNG_UP, end_request

BODY = "http.response.body"
PIECES_MAX = 10
"""What listens for a client that leaves has ended itself before."""
PIECES_END = 200_000
"""After so many one that waits for nothing would keep the event loop for good."""


class UnreadAnswer:
    """The rest of an answer that nobody reads; of a read, `ends` it where it waits next.

    Raised out of `send`, the end would leave a generator that made a piece suspended, with all
    that it took, until a collection.
    """

    def __init__(self, *, ends: bool) -> None:
        self._ends = ends
        self._pieces = 0
        self._whole = False

    def drop(self, message: Any) -> None:
        """Leave a message out."""
        more = bool(message.get("more_body"))
        self._whole = message["type"] == BODY and not more
        self._pieces += more
        if not self._ends or self._pieces <= PIECES_MAX:
            return
        if self._pieces > PIECES_END:
            raise asyncio.CancelledError(HUNG_UP)
        if more and self._pieces == PIECES_MAX + 1:
            asyncio.get_running_loop().call_soon(self._end, asyncio.current_task())

    def _end(self, task: asyncio.Task[Any] | None) -> None:
        """End what makes the answer, unless that is whole: its background tasks are to run."""
        if task is not None and not self._whole:
            end_request(task, HUNG_UP)
