"""The event loop's lag and utilisation, sampled each 10 ms while there are requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from types import FrameType, TracebackType
from typing import Self

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from servekit.monitors.busy_clock import BusyClock, busy_clock
from servekit.monitors.lag_histogram import LAG_BUCKETS, LagHistogram
from servekit.monitors.stall_evidence import loop_frame

SMOOTHING_SECONDS = 1.0
PERIOD_SECONDS = 0.1
"""Ticks are summed up in periods, as the thread's clocks cost more than all the rest of a tick."""

DOZING_INTERVALS = 5
DOZE_AFTER_SECONDS = 1.0

PeriodListener = Callable[[float], None]
"""Called in the loop with the time, at the end of each period: a timer that costs no wake-up."""


class LoopMonitor(Collector):
    """Watch the loop that enters it.

    Utilisation covers the last `utilization_seconds`. A tick that is `stall_seconds` late or more
    counts as a stall. Each tick wakes an idle machine up, so that a worker without requests may
    `doze`.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        interval_seconds: float = 0.01,
        utilization_seconds: float = 1.0,
        stall_seconds: float = 0.05,
    ) -> None:
        self.interval_seconds = interval_seconds
        self.lag_seconds = 0.0
        """Lag smoothed over a second: what overload is judged by."""
        self.last_tick = 0.0
        """When the loop last proved alive, on the monotonic clock; readable from any thread."""
        self.last_late_tick = 0.0
        """When a tick that was overdue by its interval or more came at last."""
        self.dozing = False
        """Whether ticks come only each 50 ms, as there is nobody whom lag could hurt."""
        self.tick_seconds = interval_seconds
        """From the last tick to the next."""
        self.on_tick: Callable[[float], None] | None = None
        """Called in the loop after each tick, with the time at which the next is due."""
        self.listeners: list[PeriodListener] = []
        self.thread_id = 0
        self.native_thread_id = 0
        self.loop_frame: FrameType | None = None
        """What calls the loop, where the loop has no frame of its own."""
        self.loop: asyncio.AbstractEventLoop
        self._stall_seconds = stall_seconds
        self._stalled_seconds = 0.0
        self._busy_seconds = 0.0
        self._lags = LagHistogram(interval_seconds=interval_seconds)
        self._busy: deque[tuple[float, float, float]] = deque(
            maxlen=int(utilization_seconds / PERIOD_SECONDS) + 1
        )
        self._pending: list[tuple[float, float, float]] = []
        self._woken_at = 0.0
        self._period_start = 0.0
        self._period_lag = 0.0
        self._utilization_seconds = utilization_seconds
        self._clock: BusyClock | None = None
        self._timer: asyncio.TimerHandle | None = None
        registry.register(self)

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()
        self.native_thread_id = threading.get_native_id()
        self.loop_frame = loop_frame()
        self._clock = busy_clock(self.loop)
        self.last_tick = self._period_start = time.monotonic()
        self._timer = self.loop.call_later(self.tick_seconds, self._tick)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    @property
    def utilization(self) -> float:
        """Share of the last second that the loop was busy, 0 to 1."""
        since = time.monotonic() - self._utilization_seconds
        elapsed = busy = 0.0
        for ended, period_elapsed, period_busy in reversed(list(self._busy)):
            if ended < since:
                break
            elapsed += period_elapsed
            busy += period_busy
        return min(1.0, busy / elapsed) if elapsed else 0.0

    def doze(self) -> None:
        """Tick only each 50 ms from now on, unless the loop is late or was woken just now."""
        if (
            self.lag_seconds < self.interval_seconds
            and time.monotonic() - self._woken_at >= DOZE_AFTER_SECONDS
        ):
            self.dozing = True

    def wake(self) -> None:
        """Tick each 10 ms again; as soon as a request has come, for whoever finds `dozing` set."""
        self.dozing = False
        self._woken_at = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._tick()

    def _tick(self) -> None:
        # All that can wait does: what runs a hundred times a second runs with cold caches.
        now = time.monotonic()
        elapsed = now - self.last_tick
        lag = elapsed - self.tick_seconds
        self.last_tick = now
        if lag >= self.interval_seconds:
            self.dozing = False
        self.tick_seconds = self.interval_seconds * (DOZING_INTERVALS if self.dozing else 1)
        self._timer = self.loop.call_later(self.tick_seconds, self._tick)
        if self.on_tick is not None:
            self.on_tick(now + self.tick_seconds)
        self._pending.append((now, lag if lag > 0 else 0.0, elapsed))
        if lag >= self.interval_seconds or now - self._period_start >= PERIOD_SECONDS:
            self._record_pending(now)

    def _record_pending(self, now: float) -> None:
        for taken, lag, elapsed in self._pending:
            for _ in range(1, round((elapsed - lag) / self.interval_seconds)):
                self._lags.add(0.0)  # those that a dozing sampler did not take
            self._lags.add(lag)
            share = min(1.0, elapsed / SMOOTHING_SECONDS)
            self.lag_seconds += (lag - self.lag_seconds) * share
            self._period_lag += lag
            if lag >= self.interval_seconds:
                self.last_late_tick = taken
            if lag >= self._stall_seconds:
                self._stalled_seconds += lag
        self._pending.clear()
        if now - self._period_start >= PERIOD_SECONDS:
            self._end_period(now)

    def _end_period(self, now: float) -> None:
        if self._clock is None:
            return
        elapsed = now - self._period_start
        busy = self._clock.busy_seconds(elapsed, self._period_lag)
        self._period_start = now
        self._period_lag = 0.0
        self._busy_seconds += busy
        self._busy.append((now, elapsed, busy))
        for listener in self.listeners:
            listener(now)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading the loop, as it may not have started."""
        return self._collect()

    def collect(self) -> Iterator[Metric]:
        return self._collect()

    def _collect(self) -> Iterator[Metric]:
        yield self._histogram()
        utilization = GaugeMetricFamily(
            "asyncio_eventloop_utilization_ratio",
            "Share of the last second that the event loop was busy, and how that is known.",
            labels=["source"],
        )
        if self._clock is not None:
            utilization.add_metric([self._clock.source], self.utilization)
        yield utilization
        yield CounterMetricFamily(
            "asyncio_eventloop_busy_seconds",
            "Time that the event loop was busy.",
            value=self._busy_seconds,
        )
        yield CounterMetricFamily(
            "asyncio_eventloop_stall_seconds",
            f"Lag of all ticks that were {self._stall_seconds:g} s late or more.",
            value=self._stalled_seconds,
        )
        yield self._tasks()

    def _tasks(self) -> GaugeMetricFamily:
        tasks = GaugeMetricFamily(
            "asyncio_tasks", "Tasks that are not done, by what they run.", labels=["coroutine"]
        )
        running = asyncio.all_tasks(self.loop) if self._clock is not None else ()
        for name, count in Counter(map(coroutine_name, running)).items():
            tasks.add_metric([name], count)
        return tasks

    def _histogram(self) -> HistogramMetricFamily:
        bounds = (*map(str, LAG_BUCKETS), "+Inf")
        buckets = [*zip(bounds, accumulate(self._lags.bucket_counts), strict=True)]
        return HistogramMetricFamily(
            "asyncio_eventloop_lag_seconds",
            "Event-loop lag, corrected for the samples that a stall kept from being taken.",
            buckets=buckets,
            sum_value=self._lags.lag_seconds_total,
        )


def coroutine_name(task: asyncio.Task[object]) -> str:
    """Return what a task runs, as `Class.method`; its own name is `Task-7` for most."""
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", type(coroutine).__qualname__)
