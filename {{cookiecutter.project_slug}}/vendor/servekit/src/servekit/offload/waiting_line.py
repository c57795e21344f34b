"""A bounded line of callers in front of a pool's places, first come, first served."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

from servekit.offload.errors import OffloadRejected
from servekit.offload.metrics import OffloadMetrics

SMOOTHING = 0.2
RETRY_SECONDS_MIN = 1.0


class WaitingLine:
    """Hand out `places`; up to `length` callers wait for one, the next is refused at once.

    `length=0` means half the places, at least one. For one event loop only.
    """

    def __init__(self, *, pool: str, places: int, length: int, metrics: OffloadMetrics) -> None:
        self.pool = pool
        self.places = places
        self.length = length or max(1, places // 2)
        self._metrics = metrics
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = 0
        self._run_seconds = 0.0

    @property
    def busy(self) -> int:
        """Places taken, abandoned calls included."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Callers in line."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Take a place; raise `OffloadRejected` when the line is full. Cancelled, leave it."""
        started = time.monotonic()
        if self._busy < self.places and not self._waiting:
            self._busy += 1
        elif len(self._waiting) < self.length:
            await self._wait()
        else:
            self._metrics.rejected.inc()
            raise OffloadRejected(self.pool, self._retry_after())
        self._metrics.queue_wait.observe(time.monotonic() - started)

    def release(self, run_seconds: float) -> None:
        """Give a place back, to the first in line if any."""
        self._metrics.run.observe(run_seconds)
        self._run_seconds += SMOOTHING * (run_seconds - self._run_seconds)
        while self._waiting:
            first = self._waiting.popleft()
            self._metrics.queue_size.set(len(self._waiting))
            if not first.done():
                first.set_result(None)  # the place changes hands; `busy` stays
                return
        self._busy -= 1

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._metrics.queue_size.set(len(self._waiting))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(turn)
            else:
                self.release(0)  # it got its place in the moment it was cancelled
            raise

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._metrics.queue_size.set(len(self._waiting))

    def _retry_after(self) -> float:
        # The time until the line is empty, spread so that the refused do not come back together.
        clears = self._run_seconds * (len(self._waiting) + 1) / self.places
        return max(RETRY_SECONDS_MIN, clears) * random.uniform(1, 2)  # noqa: S311 - jitter
