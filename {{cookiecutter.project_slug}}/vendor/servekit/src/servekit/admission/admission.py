"""Starts requests turn by turn of the event loop, while more come than it can work off."""

from __future__ import annotations

import asyncio
import math
import time

import structlog

from servekit.admission.line import Importance, Line, Waiter
from servekit.monitors.loop_monitor import LoopMonitor

LATE_SECONDS = 0.02
TURN_SECONDS = 0.002
# In multiples of the lag limit of 70 ms. At 80 % of capacity, a burst of 20 requests of 5 ms finds
# others in line and makes up to 200 ms of work: worked off, nearly in order, it loses nothing.
NEWEST_FIRST_LAG = 1.0
WORK_LAG = 4.0
OVERLOADED_WORK_LAG = 1.0
STALE_LAG = 0.3
LENGTH_MIN = 4
CRITICAL_LENGTH = 4
COST_SECONDS_MIN = 0.00025
CLIENT_SHARE = 0.25
PATIENCE_SECONDS = 5.0
EASED_SECONDS = 0.5
SMOOTHING = 0.2

log = structlog.get_logger()


class Admission:
    """A line in front of a worker, which is there only while its loop is late.

    Each turn of the loop starts what fits into 2 ms, at least one request, so that the limit
    follows what requests cost. The line holds work for four times `lag_seconds`; then the worker is
    overloaded, and so it is when the line was not empty for five seconds. From then on the newest
    go first, for the oldest are those whose clients give up, and the line is short, until it lost
    nobody for half a second. While it is full, who waited for 0.3 of `lag_seconds` is not started.
    """

    def __init__(self, monitor: LoopMonitor, *, lag_seconds: float) -> None:
        self.overloaded = False
        self.queueing = False
        """Whether a request has to join the line."""
        self.late_seconds = monitor.interval_seconds + LATE_SECONDS if lag_seconds else math.inf
        """Time since the last tick from which on the loop is late."""
        self.admitted = 0
        self.refused = 0
        """Requests that joined the line, by how they left it."""
        self._monitor = monitor
        self._lag = lag_seconds
        self._line = Line()
        self._turning = False
        self._cost = 0.0
        self._length_max = math.inf
        self._queueing_since = 0.0
        self._turn_began = 0.0
        self._started = 0
        self._overloaded_since = self._refused_at = 0.0
        self._refused_before = 0

    async def admit(self, importance: Importance, client: str) -> bool:
        """Wait for a turn and return True, or False for a request that has to go."""
        now = time.monotonic()
        waiter = Waiter(importance, client, now)
        self._line.add(waiter)
        if not self._turning:
            self._begin(now)
        self._send_away(client, now)
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.cancelled():
                self._line.remove(waiter)
            raise

    def _send_away(self, client: str, now: float) -> None:
        """Let those leave whom the line cannot hold, the one who has just come among them."""
        while len(self._line) > self._length_max:
            leaving = self._line.first_to_leave(client, CLIENT_SHARE)
            if leaving is None:
                break  # some have left by themselves, and are counted for a moment longer
            if leaving.importance == "critical" and self._holds_critical():
                break
            self._enter(now)
            self._refused_at = now
            self._tell(leaving, admitted=False)

    def _holds_critical(self) -> bool:
        """Whether nobody but critical requests is left, and the line can be longer for them."""
        return len(self._line) <= self._length_max * CRITICAL_LENGTH

    def _tell(self, waiter: Waiter, *, admitted: bool) -> None:
        self._line.remove(waiter)
        waiter.admitted.set_result(admitted)
        if admitted:
            self.admitted += 1
        else:
            self.refused += 1

    # A turn of the loop

    def _begin(self, now: float) -> None:
        self.queueing = self._turning = True
        self._queueing_since = now
        if not self.overloaded:
            # Until shown otherwise they are cheap: hundreds that come at once are let in.
            self._cost = COST_SECONDS_MIN
            self._length_max = math.inf
        self._after_the_next_poll()

    def _after_the_next_poll(self) -> None:
        # Twice round: behind what the next poll brings, so that the newest have joined the line.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._turn)

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._queueing_since >= PATIENCE_SECONDS:
            self._enter(now)
        self._turn_began = now
        self._started = 0
        self._start_next()

    def _start_next(self) -> None:
        now = time.monotonic()
        if self._started and now - self._turn_began > TURN_SECONDS:
            self._learn((now - self._turn_began) / self._started)
            self._send_away("", now)
            self._after_the_next_poll()
            return
        waiter = self._next(now)
        if waiter is None:
            self._turning = False
            self.queueing = self.overloaded
            return
        self._tell(waiter, admitted=True)
        self._started += 1
        asyncio.get_running_loop().call_soon(self._start_next)  # behind the request's own step

    def _next(self, now: float) -> Waiter | None:
        late = self._line.waited(now) > NEWEST_FIRST_LAG * self._lag
        while waiter := self._line.next(newest_first=late or self.overloaded):
            if not self._stale(waiter, now):
                break
            self._tell(waiter, admitted=False)
        return waiter

    def _stale(self, waiter: Waiter, now: float) -> bool:
        """Whether others are refused anyway, and this one would be slower than all who are not."""
        full = self.overloaded and now - self._refused_at < self._lag
        waited = now - waiter.since
        return full and waiter.importance != "critical" and waited > STALE_LAG * self._lag

    def _learn(self, cost: float) -> None:
        """Take in what a request costs the loop until it first waits for something."""
        self._cost += (cost - self._cost) * SMOOTHING
        work = self._lag * (OVERLOADED_WORK_LAG if self.overloaded else WORK_LAG)
        self._length_max = max(LENGTH_MIN, work / self._cost)

    # Overload

    def _enter(self, now: float) -> None:
        if self.overloaded:
            return
        self.overloaded = True
        self._overloaded_since = now
        self._refused_before = self.refused
        log.warning("overload_began", lag_seconds=round(self._monitor.lag_seconds, 3))

    def sample(self, now: float) -> None:
        """See whether an overload is over; ten times a second."""
        if not self.overloaded or self._turning:
            return
        if now - max(self._refused_at, self._overloaded_since) >= EASED_SECONDS:
            self.overloaded = self.queueing = False
            seconds = round(now - self._overloaded_since, 1)
            refused = self.refused - self._refused_before
            log.warning("overload_ended", seconds=seconds, refused=refused)
