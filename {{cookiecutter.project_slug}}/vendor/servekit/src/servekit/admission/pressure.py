"""Decides which requests a worker refuses, so that those it takes are answered in time."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from servekit.admission.admission import Admission
from servekit.admission.queue import Importance
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.process_memory import own_rss_bytes

REQUESTS_SHARE = {"critical": 1.25, "normal": 1.0, "sheddable": 0.8}
MEMORY_FULL = 1.1
MEMORY_SAMPLE_SECONDS = 1.0
SMOOTHING = 0.3


class Limit(NamedTuple):
    """A value sampled on a timer; refusals ramp from none at `limit` to all at `full`."""

    reason: str
    read: Callable[[], float]
    limit: float
    full: float


class Pressure:
    """Judge a worker by its loop's lag, its requests in flight and its memory; 0 disables a limit.

    While the loop is late, requests wait in a queue (see `Admission`), from which those are refused
    that it cannot start in time. The other limits refuse at once.
    """

    def __init__(
        self,
        monitor: LoopMonitor,
        *,
        loop_lag_seconds: float = 0.07,
        requests: int = 0,
        rss_bytes: int = 0,
        read_rss_bytes: Callable[[], float] = own_rss_bytes,
    ) -> None:
        self.in_flight = 0
        """Requests admitted and not answered; the middleware counts."""
        self.websockets = 0
        """Open ones; they keep the monitor awake."""
        self.level = 0.0
        """0 at ease, 1 when next to everything is refused: a handler may do less."""
        self.reason = ""
        """What presses most."""
        self.shed_probability = 0.0
        """Share of requests refused lately, of those that had to queue."""
        self._monitor = monitor
        self._lag = loop_lag_seconds
        self._admission = Admission(monitor, lag_seconds=loop_lag_seconds)
        # Below these nothing is refused, whatever a request's importance.
        self._calm_requests = requests * min(REQUESTS_SHARE.values()) or math.inf
        self._calm_seconds = math.inf
        self._requests = requests
        self._table = [Limit("memory", read_rss_bytes, rss_bytes, rss_bytes * MEMORY_FULL)]
        self._table = [row for row in self._table if row.limit > 0]
        self._ramps: dict[str, float] = {}
        self._sampled = 0.0
        self._counted = (0, 0)

    async def __aenter__(self) -> Self:
        self._calm_seconds = self._admission.late_seconds
        self._monitor.listeners.append(self.sample)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calm_seconds = math.inf
        self._monitor.listeners.remove(self.sample)

    def calm(self) -> bool:
        """Tell whether a request can be admitted without a further look: nearly always."""
        return (
            self.in_flight < self._calm_requests
            and time.monotonic() - self._monitor.last_tick < self._calm_seconds
            and not self._admission.queueing
            and not self._ramps
            and not self._monitor.dozing
        )

    async def refuse(self, importance: Importance = "normal", client: str = "") -> str | None:
        """Return why a request that arrives now is refused; None admits it, after a wait maybe.

        A client that holds more than a quarter of a full queue is the first to lose a place in it.
        """
        if self._monitor.dozing:
            self._monitor.wake()
        if self._full(importance):
            return "requests"
        if importance != "critical":
            for reason, ramp in self._ramps.items():
                if random.random() < ramp:  # noqa: S311 - spreads refusals
                    return reason
        late = time.monotonic() - self._monitor.last_tick >= self._calm_seconds
        if (late or self._admission.queueing) and not await self._admission.admit(
            importance, client
        ):
            return "event_loop_lag"
        # Others that waited meanwhile were let in first.
        return "requests" if self._full(importance) else None

    def _full(self, importance: Importance) -> bool:
        return 0 < self._requests * REQUESTS_SHARE[importance] <= self.in_flight

    # On the timer

    def sample(self, now: float) -> None:
        """Compare what is sampled with its limits; the monitor calls it ten times a second."""
        if self._table and now - self._sampled >= MEMORY_SAMPLE_SECONDS:
            self._sampled = now
            self._ramps = {row.reason: ramp for row in self._table if (ramp := self._ramp(row)) > 0}
        self._admission.sample(now)
        if not self.in_flight and not self.websockets:
            self._monitor.doze()
        before, self._counted = self._counted, (self._admission.admitted, self._admission.refused)
        admitted, refused = (now - then for now, then in zip(self._counted, before, strict=True))
        share = refused / (admitted + refused) if refused else 0.0
        self.shed_probability += SMOOTHING * (share - self.shed_probability)
        self._judge()

    def _judge(self) -> None:
        levels = dict(self._ramps)
        if self._lag > 0:
            lag = self._monitor.lag_seconds / (2 * self._lag)
            levels["event_loop_lag"] = max(self.shed_probability, lag)
        if self._requests > 0:
            levels["requests"] = self.in_flight / self._requests
        self.reason = max(levels, key=lambda reason: levels[reason], default="")
        self.level = min(1.0, levels.get(self.reason, 0.0))

    def _ramp(self, row: Limit) -> float:
        return min(1.0, max(0.0, (row.read() - row.limit) / (row.full - row.limit)))
