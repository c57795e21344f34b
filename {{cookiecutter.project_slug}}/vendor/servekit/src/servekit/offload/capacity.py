"""How many calls a pool runs and lets wait: first come, first served, the rest refused."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

from servekit.offload.errors import OffloadRejected
from servekit.offload.metrics import OffloadMetrics

SMOOTHING = 0.2
RETRY_SECONDS_MIN = 1.0
QUEUE_MIN = 8
"""A pool of one process serves a handful of callers at once, one after the other."""


class PoolCapacity:
    """Let `size` calls run; up to `queue_limit` callers wait, the next is refused at once.

    `queue_limit=0` means half of `size`, at least 8. For one event loop only.
    """

    def __init__(self, *, pool: str, size: int, queue_limit: int, metrics: OffloadMetrics) -> None:
        self.pool = pool
        self.size = size
        self.queue_limit = queue_limit or max(QUEUE_MIN, size // 2)
        self._metrics = metrics
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._busy = 0
        self._run_seconds = 0.0

    @property
    def busy(self) -> int:
        """Calls that run, abandoned ones included."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Callers that wait."""
        return len(self._waiters)

    async def acquire(self) -> None:
        """Take a place; raise `OffloadRejected` when too many wait. Cancelled, stop waiting."""
        started = time.monotonic()
        if self._busy < self.size and not self._waiters:
            self._busy += 1
        elif len(self._waiters) < self.queue_limit:
            await self._wait()
        else:
            raise self.refusal()
        self._metrics.queue_wait.observe(time.monotonic() - started)

    def refusal(self, reason: str = "") -> OffloadRejected:
        """Count a call that is refused, and return what to raise; without a reason it is full."""
        self._metrics.rejected.inc()
        return OffloadRejected(self.pool, self._retry_after(), reason)

    def release(self, run_seconds: float) -> None:
        """Give a place back after a call that took so long."""
        self._metrics.run.observe(run_seconds)
        self._run_seconds += SMOOTHING * (run_seconds - self._run_seconds)
        self.give_back()

    def give_back(self) -> None:
        """Give a place back, to the first that waits if any."""
        while self._waiters:
            first = self._waiters.popleft()
            self._metrics.queue_size.set(len(self._waiters))
            if not first.done():
                first.set_result(None)  # the place changes hands; `busy` stays
                return
        self._busy -= 1

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._metrics.queue_size.set(len(self._waiters))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._withdraw(waiter)
            else:
                self.give_back()  # it got its place in the moment it was cancelled
            raise

    def _withdraw(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._metrics.queue_size.set(len(self._waiters))

    def _retry_after(self) -> float:
        # The time until nobody waits, spread so that the refused do not come back together.
        clears = self._run_seconds * (len(self._waiters) + 1) / self.size
        return max(RETRY_SECONDS_MIN, clears) * random.uniform(1, 2)  # noqa: S311 - jitter
