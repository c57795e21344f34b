"""What watching costs: CPU of an idle worker, and throughput of a busy one, with and without."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from contextlib import AsyncExitStack
from typing import Any

import uvloop
from layers import bare
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from service.runtime.monitors.gc_monitor import GcMonitor
from service.runtime.monitors.loop_monitor import LoopMonitor
from service.runtime.monitors.memory_monitor import MemoryMonitor
from service.runtime.monitors.pressure import Pressure
from service.runtime.monitors.watchdog import Watchdog

IDLE_PERCENT_MAX = 1.0
BUSY_PERCENT_MAX = 2.0
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


async def idle(seconds: float, *, on: bool) -> float:
    """Return the percentage of a core that a process uses while it has nothing to do."""
    async with watched(on):
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


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


def main() -> None:
    """Print both costs; rounds with and without take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    app = bare()
    added, lost = [], []
    for _ in range(options.rounds):
        without, with_them = (uvloop.run(idle(options.seconds, on=on)) for on in (False, True))
        added.append(with_them - without)
        without, with_them = (uvloop.run(busy(app, options.seconds, on=on)) for on in (False, True))
        lost.append(100 * (1 - with_them / without))
    for name, values, limit in (
        ("idle: % of a core", added, IDLE_PERCENT_MAX),
        ("busy: % of throughput", lost, BUSY_PERCENT_MAX),
    ):
        print(f"{name:24}{statistics.median(values):8.2f}   goal <= {limit:g}")


if __name__ == "__main__":
    main()
