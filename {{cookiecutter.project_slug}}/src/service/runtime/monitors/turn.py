"""One pass of the event loop over what is ready, and the time that new work may take of it."""

from __future__ import annotations

import asyncio


class Turn:
    """Admit new work for the first `budget_seconds` of each pass of the loop, always one piece.

    Work that is ready but not admitted has waited for as long as the pass took: refusing the rest
    bounds the wait of what is admitted to about two passes, however much is offered.
    """

    def __init__(self, budget_seconds: float) -> None:
        self._budget_seconds = budget_seconds
        self._started: float | None = None

    def admits(self, now: float) -> bool:
        """Tell whether a piece of work that would start `now` still fits."""
        if self._started is None:
            self._started = now
            # Runs behind all that is ready by now, before whatever the next poll brings.
            asyncio.get_running_loop().call_soon(self._end)
            return True
        return now - self._started <= self._budget_seconds

    def _end(self) -> None:
        self._started = None
