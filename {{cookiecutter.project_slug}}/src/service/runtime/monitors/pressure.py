"""Decides which requests a worker refuses, so that those it takes are answered in time."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, NamedTuple, Self

import structlog

from service.runtime.monitors.loop_monitor import LoopMonitor
from service.runtime.monitors.turn import Turn

Importance = Literal["critical", "normal", "sheddable"]

# In multiples of the lag limit: what a single burst may take before anything is refused. A burst of
# 20 requests of 5 ms is worked off without a refusal, while the worst wait stays below 250 ms.
BURST_LAG = {"critical": 8.0, "normal": 2.5, "sheddable": 2.5}
REQUESTS_SHARE = {"critical": 1.25, "normal": 1.0, "sheddable": 0.8}
PATIENCE_SECONDS = 2.0
TURN_SECONDS = 0.002
LATE_TURN_SECONDS = 0.01
EXIT_UTILIZATION = 0.9
OVERLOAD_SECONDS_MIN = 0.5
SHEDDABLE_PAUSE_SECONDS = 1.0
HYSTERESIS = 0.8
MEMORY_FULL = 1.1
MEMORY_SAMPLE_SECONDS = 1.0
SMOOTHING = 0.3

log = structlog.get_logger()


def own_rss_bytes() -> int:
    """Return this process's resident memory, in microseconds: for the loop; 0 if not on Linux."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.pread(file, 128, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(file)


class Limit(NamedTuple):
    """A value sampled on a timer; refusals ramp from none at `limit` to all at `full`."""

    reason: str
    read: Callable[[], float]
    limit: float
    full: float


class Pressure:
    """Judge a worker by its loop's lag, its requests in flight and its memory; 0 disables a limit.

    Lag: once it stays above `loop_lag_seconds` for two seconds, or one burst keeps the loop for
    2.5 times that, the worker is overloaded: from then on each turn of the loop starts only the
    requests that fit, until the loop is idle again for a tenth of its time. So the limit on new
    requests adapts to what they cost, and a burst that is worked off in time loses nothing.
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
        self.level = 0.0
        """0 at ease, 1 when next to everything is refused: a handler may do less."""
        self.reason = ""
        """What presses most."""
        self.shed_probability = 0.0
        """Share of requests refused lately."""
        self.overloaded = False
        self._monitor = monitor
        self._lag = loop_lag_seconds
        self._sampling = False
        # Below these nothing is refused, whatever a request's importance.
        self._calm_requests = requests * min(REQUESTS_SHARE.values()) or math.inf
        self._calm_seconds = math.inf
        self._requests = requests
        self._table = [Limit("memory", read_rss_bytes, rss_bytes, rss_bytes * MEMORY_FULL)]
        self._table = [row for row in self._table if row.limit > 0]
        self._ramps: dict[str, float] = {}
        self._sampled = 0.0
        self._turn = Turn(TURN_SECONDS)
        self._late_turn = Turn(LATE_TURN_SECONDS)
        self._since = 0.0
        self._caught_up = 0.0
        self._refused_normal = 0.0
        self._admitted = self._refused = self._refused_total = 0

    async def __aenter__(self) -> Self:
        self._caught_up = time.monotonic()
        self._sampling = True
        if self._lag > 0:
            lag = self._lag * min(BURST_LAG.values())
            self._calm_seconds = self._monitor.interval_seconds + lag
        self._monitor.listeners.append(self.sample)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sampling = False
        self._calm_seconds = math.inf
        self._monitor.listeners.remove(self.sample)

    def calm(self) -> bool:
        """Tell whether a request can be admitted without a further look: nearly always."""
        return (
            self.in_flight < self._calm_requests
            and time.monotonic() - self._monitor.last_tick < self._calm_seconds
            and not self.overloaded
            and not self._ramps
        )

    def refuse(self, importance: Importance = "normal") -> str | None:
        """Return why a request that arrives now is refused, or None to admit it."""
        reason = self._reason_to_refuse(importance)
        if reason is None:
            self._admitted += 1
        else:
            self._refused += 1
        return reason

    def _reason_to_refuse(self, importance: Importance) -> str | None:
        if 0 < self._requests * REQUESTS_SHARE[importance] <= self.in_flight:
            return "requests"
        if self._sampling and self._lag > 0:
            now = time.monotonic()
            # How late the next tick already is: the wait of this very request in this turn.
            waited = now - self._monitor.last_tick - self._monitor.interval_seconds
            burst = waited > self._lag * BURST_LAG[importance]
            if burst and self._burst_too_long(now, waited, importance):
                return "event_loop_lag"
            if self.overloaded and importance != "critical" and not self._fits(now, importance):
                return "event_loop_lag"
        if self._ramps and importance != "critical":
            for reason, ramp in self._ramps.items():
                if random.random() < ramp:  # noqa: S311 - spreads refusals
                    return reason
        return None

    def _burst_too_long(self, now: float, waited: float, importance: Importance) -> bool:
        if self._late_turn.admits(now):
            return False  # one call blocked the loop, maybe: the few that waited for it are served
        share = waited / self._lag - BURST_LAG[importance]  # all of it one limit later
        if random.random() >= share:  # noqa: S311 - spreads refusals
            return False
        self._enter()
        return True

    def _fits(self, now: float, importance: Importance) -> bool:
        if importance == "sheddable" and now - self._refused_normal < SHEDDABLE_PAUSE_SECONDS:
            return False
        fits = self._turn.admits(now)
        if not fits and importance == "normal":
            self._refused_normal = now
        return fits

    # On the timer

    def sample(self, now: float) -> None:
        """Compare what is sampled with its limits; the monitor calls it ten times a second."""
        if self._table and now - self._sampled >= MEMORY_SAMPLE_SECONDS:
            self._sampled = now
            self._ramps = {row.reason: ramp for row in self._table if (ramp := self._ramp(row)) > 0}
        lag = self._monitor.lag_seconds
        if self._monitor.slot_lag_min < self._lag:
            self._caught_up = now
        if not self.overloaded and self._lag > 0 and now - self._caught_up >= PATIENCE_SECONDS:
            self._enter()
        elif self.overloaded and self._eased(now):
            self._leave(now)
        offered = self._admitted + self._refused
        share = self._refused / offered if offered else 0.0
        self.shed_probability += SMOOTHING * (share - self.shed_probability)
        self._refused_total += self._refused
        self._admitted = self._refused = 0
        self._judge(lag)

    def _judge(self, lag: float) -> None:
        levels = dict(self._ramps)
        if self._lag > 0:
            levels["event_loop_lag"] = max(self.shed_probability, lag / (2 * self._lag))
        if self._requests > 0:
            levels["requests"] = self.in_flight / self._requests
        self.reason = max(levels, key=lambda reason: levels[reason], default="")
        self.level = min(1.0, levels.get(self.reason, 0.0))

    def _ramp(self, row: Limit) -> float:
        start = row.limit * HYSTERESIS if row.reason in self._ramps else row.limit
        return min(1.0, max(0.0, (row.read() - start) / (row.full - start)))

    def _eased(self, now: float) -> bool:
        lasted = now - self._since
        return lasted >= OVERLOAD_SECONDS_MIN and self._monitor.utilization < EXIT_UTILIZATION

    def _enter(self) -> None:
        if self.overloaded:
            return
        self.overloaded = True
        self._since = time.monotonic()
        self._refused_total = 0
        log.warning("overload_began", lag_seconds=round(self._monitor.lag_seconds, 3))

    def _leave(self, now: float) -> None:
        self.overloaded = False
        log.warning(
            "overload_ended",
            seconds=round(now - self._since, 1),
            refused=self._refused_total + self._refused,
        )
