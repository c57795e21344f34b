"""Starts requests turn by turn of the event loop, while more come than it can work off."""

from __future__ import annotations

import asyncio
import math
import time

from servekit.admission.queue import Importance, RequestQueue, Waiter
from servekit.event_log import get_logger
from servekit.monitors.loop_monitor import LoopMonitor

LATE_SECONDS = 0.02
TURN_SECONDS = 0.002
# In multiples of the lag limit of 70 ms. At 80 % of capacity, a burst of 20 requests of 5 ms finds
# others queueing and makes up to 200 ms of work: worked off, nearly in order, it loses nothing.
NEWEST_FIRST_LAG = 1.0
WORK_LAG = 4.0
OVERLOADED_WORK_LAG = 1.0
STALE_LAG_SHARE = 0.3
QUEUE_MIN = 4
CRITICAL_QUEUE_FACTOR = 4
COST_SECONDS_MIN = 0.00025
CLIENT_SHARE = 0.25
QUEUEING_SECONDS_MAX = 5.0
EASED_SECONDS = 0.5
SMOOTHING = 0.2

log = get_logger()


class Admission:
    """A queue in front of a worker, which is there only while its loop is late.

    Each turn of the loop starts what fits into 2 ms, at least one request, so that the limit
    follows what requests cost. The queue holds work for four times `lag_seconds`; then the worker
    is overloaded, and so it is when the queue was not empty for five seconds. From then on the
    newest go first, for the oldest are those whose clients give up, and the queue is short, until
    none was refused for half a second. While it is full, what waited for 0.3 of `lag_seconds` is
    refused too.
    """

    def __init__(self, monitor: LoopMonitor, *, lag_seconds: float) -> None:
        self.overloaded = False
        self.queueing = False
        """Whether a request has to join the queue."""
        self.late_seconds = monitor.interval_seconds + LATE_SECONDS if lag_seconds else math.inf
        """Time since the last tick from which on the loop is late."""
        self.admitted = 0
        self.refused = 0
        """Requests that joined the queue, by how they left it."""
        self._monitor = monitor
        self._lag = lag_seconds
        self._queue = RequestQueue()
        self._dispatching = False
        self._cost = 0.0
        self._queue_limit = math.inf
        self._queueing_since = 0.0
        self._turn_began = 0.0
        self._started = 0
        self._overloaded_since = self._refused_at = 0.0
        self._refused_before = 0

    async def admit(self, importance: Importance, client: str) -> bool:
        """Wait for a turn and return True, or False for a request that has to go."""
        now = time.monotonic()
        waiter = Waiter(importance, client, now)
        self._queue.add(waiter)
        if not self._dispatching:
            self._begin_queueing(now)
        self._refuse_excess(client, now)
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.cancelled():
                self._queue.remove(waiter)
            raise

    def _refuse_excess(self, client: str, now: float) -> None:
        """Refuse those whom the queue cannot hold, the one that has just come among them."""
        while len(self._queue) > self._queue_limit:
            refused = self._queue.first_to_refuse(client, CLIENT_SHARE)
            if refused is None:
                break  # some have left by themselves, and are counted for a moment longer
            if refused.importance == "critical" and self._has_room_for_critical():
                break
            self._begin_overload(now)
            self._refused_at = now
            self._decide(refused, admitted=False)

    def _has_room_for_critical(self) -> bool:
        """Whether nobody but critical requests is left, and the queue can be longer for them."""
        return len(self._queue) <= self._queue_limit * CRITICAL_QUEUE_FACTOR

    def _decide(self, waiter: Waiter, *, admitted: bool) -> None:
        self._queue.remove(waiter)
        waiter.admitted.set_result(admitted)
        if admitted:
            self.admitted += 1
        else:
            self.refused += 1

    # A turn of the loop

    def _begin_queueing(self, now: float) -> None:
        self.queueing = self._dispatching = True
        self._queueing_since = now
        if not self.overloaded:
            # Until shown otherwise they are cheap: hundreds that come at once are let in.
            self._cost = COST_SECONDS_MIN
            self._queue_limit = math.inf
        self._after_the_next_poll()

    def _after_the_next_poll(self) -> None:
        # Twice round: behind what the next poll brings, so that the newest have joined the queue.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._dispatch)

    def _dispatch(self) -> None:
        now = time.monotonic()
        if now - self._queueing_since >= QUEUEING_SECONDS_MAX:
            self._begin_overload(now)
        self._turn_began = now
        self._started = 0
        self._start_next()

    def _start_next(self) -> None:
        now = time.monotonic()
        if self._started and now - self._turn_began > TURN_SECONDS:
            self._note_cost((now - self._turn_began) / self._started)
            self._refuse_excess("", now)
            self._after_the_next_poll()
            return
        waiter = self._next_waiter(now)
        if waiter is None:
            self._dispatching = False
            self.queueing = self.overloaded
            return
        self._decide(waiter, admitted=True)
        self._started += 1
        asyncio.get_running_loop().call_soon(self._start_next)  # behind the request's own step

    def _next_waiter(self, now: float) -> Waiter | None:
        late = self._queue.oldest_wait_seconds(now) > NEWEST_FIRST_LAG * self._lag
        while waiter := self._queue.next(newest_first=late or self.overloaded):
            if not self._is_stale(waiter, now):
                break
            self._decide(waiter, admitted=False)
        return waiter

    def _is_stale(self, waiter: Waiter, now: float) -> bool:
        """Whether others are refused anyway, and this one would be slower than all who are not."""
        full = self.overloaded and now - self._refused_at < self._lag
        waited = now - waiter.since
        return full and waiter.importance != "critical" and waited > STALE_LAG_SHARE * self._lag

    def _note_cost(self, cost: float) -> None:
        """Take in what a request costs the loop until it first waits for something."""
        self._cost += (cost - self._cost) * SMOOTHING
        work = self._lag * (OVERLOADED_WORK_LAG if self.overloaded else WORK_LAG)
        self._queue_limit = max(QUEUE_MIN, work / self._cost)

    # Overload

    def _begin_overload(self, now: float) -> None:
        if self.overloaded:
            return
        self.overloaded = True
        self._overloaded_since = now
        self._refused_before = self.refused
        log.warning("overload_began", lag_seconds=round(self._monitor.lag_seconds, 3))

    def sample(self, now: float) -> None:
        """See whether an overload is over; ten times a second."""
        if not self.overloaded or self._dispatching:
            return
        if now - max(self._refused_at, self._overloaded_since) >= EASED_SECONDS:
            self.overloaded = self.queueing = False
            seconds = round(now - self._overloaded_since, 1)
            refused = self.refused - self._refused_before
            log.warning("overload_ended", seconds=seconds, refused=refused)
