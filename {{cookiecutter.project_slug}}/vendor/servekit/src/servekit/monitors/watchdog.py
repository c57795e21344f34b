"""A thread that reports what blocks the event loop, while it blocks it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter

from servekit.event_log import get_logger
from servekit.monitors.alarm import Due, alarm
from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.gc_monitor import GcMonitor
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.stall_evidence import (
    MOSTLY,
    CpuClocks,
    CpuReading,
    callback_frame,
    is_waiting,
    own_line,
    stack_lines,
)
from servekit.thread_frames import current_frames

FOLLOW_SECONDS = 1.0
POLL_SECONDS = 0.01
PLACES_MAX = 1000
GC_CALLBACK = GcMonitor.time_collection.__code__

DescribeRequest = Callable[[FrameType, "asyncio.Task[Any] | None"], Mapping[str, str]]
"""Name the request that a stack serves: `route`, `request_id`; {} if none."""

log = get_logger()


class Stops:
    """Count the time in which a process was simply not run; for the thread that watches it.

    So it is when it was stopped or its machine paused, or memory was swapped out: a thread is late
    although nothing of the process used a CPU or waited for one.
    """

    def __init__(self, seconds: Counter, least_seconds: float) -> None:
        self._seconds = seconds
        self._least_seconds = least_seconds
        self._own_wait = RunQueueWait(threading.get_native_id())
        self._deprived = self._own_wait.seconds()

    def count(self, clocks: CpuClocks, before: CpuReading, late: float) -> None:
        """Take in that this thread woke `late`, and what the clocks were before it slept."""
        deprived, self._deprived = self._deprived, self._own_wait.seconds()
        if late < self._least_seconds:
            return
        now = clocks.read()
        used = now.process_cpu - before.process_cpu + now.deprived_since(before)
        stood = late - used - (self._deprived - deprived)
        if stood >= max(self._least_seconds, MOSTLY * late):
            self._seconds.inc(stood)

    def close(self) -> None:
        """Close what the kernel is asked by."""
        self._own_wait.close()


@dataclass
class Stall:
    """A time without a tick, from the moment that the watchdog armed."""

    last_tick: float
    """The last tick before it."""
    due: float
    """When the next tick should have come."""
    armed: CpuReading
    stack: list[str]
    """Empty if what ran when the watchdog armed had ended by now: then no one is to blame."""
    task: str
    request: Mapping[str, str]
    held_seconds: float = 0.0
    """How long the watchdog waited for the interpreter, which one call kept to itself."""
    cause: str = ""
    """What is certain of it already."""


class Watchdog:
    """Log and count `event_loop_blocked` once the loop was still for `stall_seconds`; 0 disables.

    The record names the request that is running, its stack, and whether it computes or waits. A
    call into C that keeps the interpreter to itself, the watchdog included, is reported when it has
    returned. A thread that had no CPU is not called blocked, or said to be starved. One place is
    logged once in `quiet_seconds`; the next record says how many were passed over.
    """

    def __init__(
        self,
        monitor: LoopMonitor,
        *,
        registry: CollectorRegistry,
        stall_seconds: float = 0.05,
        quiet_seconds: float = 10.0,
        describe_request: DescribeRequest = lambda _frame, _task: {},
    ) -> None:
        self._monitor = monitor
        self._stall_seconds = stall_seconds
        self._quiet_seconds = quiet_seconds
        self._describe_request = describe_request
        self._places: dict[str, tuple[float, int]] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._stood = Counter(
            "process_stopped_seconds_total",
            "Time in which nothing of the process ran although it was due and waited for no CPU.",
            registry=registry,
        )
        self._blocked = Counter(
            "asyncio_eventloop_blocked_total",
            "Times that the event loop stood still, by the route that was running.",
            ["route"],
            registry=registry,
        )

    async def __aenter__(self) -> Self:
        if self._stall_seconds > 0:
            self._stopped.clear()
            clocks = CpuClocks(self._monitor.thread_id, self._monitor.native_thread_id)
            self._alarm = alarm(Due(self._overdue_at(), clocks.read()))
            self._monitor.on_tick = self._put_off
            self._clocks = clocks
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._monitor.on_tick = None
            self._alarm.ring()
            while self._thread.is_alive():  # noqa: ASYNC110 - a thread's end gives no event
                await asyncio.sleep(0.001)

    def _put_off(self, tick_due: float) -> None:
        self._alarm.put_off(Due(tick_due + self._stall_seconds / 2, self._clocks.read()))

    def _watch(self) -> None:
        stops = Stops(self._stood, self._stall_seconds)
        while not self._stopped.is_set():
            held_up = self._alarm.arm().at <= time.monotonic()
            due = self._alarm.wait()
            woke_at = time.monotonic()
            if self._stopped.is_set():
                break
            # When it is due now: ticks may have come meanwhile, and the call after them.
            if woke_at >= self._overdue_at():
                try:
                    self._look(self._clocks, self._monitor.last_tick, self._alarm.latest.reading)
                except Exception:  # a report that fails must not end the watch
                    log.exception("watchdog_report_failed")
                    self._stopped.wait(POLL_SECONDS)
            if not held_up:
                stops.count(self._clocks, due.reading, woke_at - due.at)
        stops.close()
        self._alarm.close()
        self._clocks.close()

    def _overdue_at(self) -> float:
        return self._monitor.last_tick + self._monitor.tick_seconds + self._stall_seconds / 2

    def _look(self, clocks: CpuClocks, last_tick: float, slept: CpuReading) -> None:
        due = last_tick + self._monitor.tick_seconds
        if time.monotonic() - due >= self._stall_seconds:
            # Nobody got the interpreter until now. It is handed over right after the call that kept
            # it, so what runs is looked at before anything that lets the loop go on.
            running = self._running()
            stall = self._take_evidence(last_tick, slept, running)
            now = clocks.read()
            if now.computed_since(slept, due) >= self._stall_seconds:
                stall.held_seconds = now.at - due - self._stall_seconds / 2
                stall.cause = stall.cause or now.computed_by(slept)
                self._report(clocks, stall, slept)
                return
        followed = self._follow(clocks, last_tick)
        if followed is not None:
            self._report(clocks, followed, slept)

    def _follow(self, clocks: CpuClocks, last_tick: float) -> Stall | None:
        armed = clocks.read()
        suspect = self._running()
        needed = self._stall_seconds / 2
        wait = needed
        while wait > 0:
            if self._stopped.wait(wait) or self._monitor.last_tick != last_tick:
                return None
            stall = self._take_evidence(last_tick, armed, suspect)
            now = clocks.read()
            wait = needed - (now.at - armed.at - now.deprived_since(armed))
        return stall

    def _take_evidence(self, last_tick: float, armed: CpuReading, suspect: object) -> Stall:
        cause = ""
        with current_frames() as frames:
            frame = frames.get(self._monitor.thread_id)
            task = asyncio.current_task(self._monitor.loop)
            same = self._running_in(frame) is suspect
            if frame is not None and frame.f_code is GC_CALLBACK:
                frame, cause = frame.f_back, "garbage_collection"
            stack = stack_lines(frame) if same else []
            request = self._describe_request(frame, task) if same and frame is not None else {}
        due = last_tick + self._monitor.tick_seconds
        name = task.get_name() if task else ""
        return Stall(last_tick, due, armed, stack, name, request, cause=cause)

    def _running(self) -> object:
        with current_frames() as frames:
            return self._running_in(frames.get(self._monitor.thread_id))

    def _running_in(self, frame: FrameType | None) -> object:
        loop = self._monitor.loop_frame
        task = asyncio.current_task(self._monitor.loop)
        if task is not None and frame is not loop:  # else its last line has ended
            return task
        if frame is None or is_waiting(frame, loop):
            return object()  # nobody, and not the one who ran before
        return callback_frame(frame, loop)

    def _report(self, clocks: CpuClocks, stall: Stall, slept: CpuReading) -> None:
        route = stall.request.get("route", "")
        self._blocked.labels(route).inc()
        until = time.monotonic() + FOLLOW_SECONDS
        while self._monitor.last_tick == stall.last_tick and time.monotonic() < until:
            if self._stopped.wait(POLL_SECONDS):
                break
        ended = self._monitor.last_tick != stall.last_tick
        now, cause = clocks.read(), stall.cause
        if now.starved_since(slept, self._length(stall), self._stall_seconds):
            cause = "cpu_starvation"
        elif not cause:
            cause = now.cause_since(stall.armed) if stall.stack else "many_callbacks"
        place = own_line(stall.stack)
        suppressed = self._suppressed(f"{route} {place}")
        if suppressed is not None:
            log.warning(
                "event_loop_blocked",
                blocked_seconds=round(self._length(stall), 3),
                ended=ended,
                cause=cause,
                location=place,
                stack="\n".join(stall.stack),
                task=stall.task,
                suppressed=suppressed,
                **({"held_seconds": round(stall.held_seconds, 3)} if stall.held_seconds else {}),
                **stall.request,
            )
        if not ended:  # else it would be taken for another one
            self._wait_for_the_end(stall, tell=suppressed is not None)

    def _wait_for_the_end(self, stall: Stall, *, tell: bool) -> None:
        while self._monitor.last_tick == stall.last_tick:
            if self._stopped.wait(POLL_SECONDS * 5):
                return
        if not tell:
            return
        log.warning(
            "event_loop_unblocked",
            blocked_seconds=round(self._length(stall), 3),
            location=own_line(stall.stack),
            **stall.request,
        )

    def _length(self, stall: Stall) -> float:
        late = self._monitor.last_late_tick
        end = late if late > stall.last_tick else time.monotonic()
        return end - stall.due

    def _suppressed(self, place: str) -> int | None:
        """Return how many records of a place were passed over; None to pass over this one too."""
        now = time.monotonic()
        logged, passed_over = self._places.get(place, (-self._quiet_seconds, 0))
        if now - logged < self._quiet_seconds:
            self._places[place] = (logged, passed_over + 1)
            return None
        if len(self._places) >= PLACES_MAX:
            self._places.clear()
        self._places[place] = (now, 0)
        return passed_over
