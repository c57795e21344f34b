"""What watching costs: CPU of an idle worker, throughput of a busy one, a count of the heap.

What a wake-up costs is the machine's: so a timer that does nothing, as often as the monitors
sample, stands beside the idle figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from bench.layers import bare
from servekit.admission.pressure import Pressure
from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.gc_monitor import GcMonitor
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.memory_monitor import MemoryMonitor
from servekit.monitors.profiling import Profiling
from servekit.monitors.watchdog import Watchdog
from servekit.tuning import tune

IDLE_PERCENT_MAX = 1.0
BUSY_PERCENT_MAX = 2.0
HEAP_PAUSE_MS_MAX = 10.0
HEAP_OBJECTS = 1_000_000
PAIR_SECONDS = 0.2
SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}


@contextlib.asynccontextmanager
async def watched(on: bool) -> Any:
    """Enter every monitor of a worker, or none."""
    async with AsyncExitStack() as stack:
        if on:
            registry = CollectorRegistry()
            monitor = LoopMonitor(registry=registry)
            for part in (
                monitor,
                Watchdog(monitor, registry=registry),
                Pressure(monitor),
                GcMonitor(registry=registry),
                MemoryMonitor(registry=registry),
            ):
                await stack.enter_async_context(part)
        yield


async def cpu_percent(seconds: float) -> float:
    """Return the percentage of a core that this process uses while it has nothing to do."""
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


async def idle(seconds: float, *, on: bool) -> float:
    """Return the percentage with and without the monitors."""
    async with watched(on):
        return await cpu_percent(seconds)


async def bare_timer(seconds: float, interval: float = 0.01) -> float:
    """Return the percentage of a timer that does nothing."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def again() -> None:
        timers[:] = [loop.call_later(interval, again)]

    again()
    try:
        return await cpu_percent(seconds)
    finally:
        timers[0].cancel()


async def busy(app: ASGIApp, seconds: float, *, on: bool) -> float:
    """Return the requests a second of CPU time, each a task of its own as on a server."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        return None

    async with watched(on):
        count, cpu = 0, time.process_time()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            tasks = [asyncio.ensure_future(app({**SCOPE}, receive, send)) for _ in range(16)]
            await asyncio.gather(*tasks)
            count += len(tasks)
        return count / (time.process_time() - cpu)


async def heap_pause_ms() -> float:
    """Return for how long the loop stood still while its heap was counted, waits aside."""
    waited = RunQueueWait(threading.get_native_id())
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic() - waited.seconds()
            await asyncio.sleep(0.001)
            pauses.append(time.monotonic() - waited.seconds() - began - 0.001)

    ticking = asyncio.create_task(tick())
    try:
        await Profiling().heap({"top": 10})
        return 1000 * max(pauses)
    finally:
        ticking.cancel()
        waited.close()


def main() -> None:
    """Print the costs; rounds with and without take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of the idle figure")
    parser.add_argument("--seconds", type=float, default=2, help="of a round")
    parser.add_argument("--pairs", type=int, default=100, help="short runs with and without")
    options = parser.parse_args()
    tune()  # as every worker
    app = bare()
    timer, added, lost = [], [], []
    for _ in range(options.rounds):
        nothing = uvloop.run(idle(options.seconds, on=False))
        timer.append(uvloop.run(bare_timer(options.seconds)) - nothing)
        added.append(uvloop.run(idle(options.seconds, on=True)) - nothing)
    for number in range(options.pairs):
        # Short and in turn, as the machine's own speed changes; once this one first, once that.
        on_first = bool(number % 2)
        rates = {on: uvloop.run(busy(app, PAIR_SECONDS, on=on)) for on in (on_first, not on_first)}
        lost.append(100 * (1 - rates[True] / rates[False]))
    held: list[list[None]] = [[] for _ in range(HEAP_OBJECTS)]
    paused = [uvloop.run(heap_pause_ms()) for _ in range(options.rounds)]
    del held
    print(f"idle, a bare timer: % of a core {statistics.median(timer):8.2f}")
    for name, values, limit in (
        ("idle, the monitors: % of a core", added, IDLE_PERCENT_MAX),
        ("busy: % of throughput", lost, BUSY_PERCENT_MAX),
        ("heap of a million: ms of pause", paused, HEAP_PAUSE_MS_MAX),
    ):
        print(f"{name:32}{statistics.median(values):8.2f}   goal <= {limit:g}")


if __name__ == "__main__":
    main()
