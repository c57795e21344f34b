import asyncio

from blockbuster import BlockBuster
from prometheus_client import CollectorRegistry, generate_latest

from servekit.admission.pressure import Pressure
from servekit.monitors.gc_monitor import GcMonitor
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.memory_monitor import MemoryMonitor
from servekit.monitors.watchdog import Watchdog
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads
from tests.offload import jobs


async def test_neither_monitors_nor_pools_make_a_blocking_call_on_the_loop():
    registry = CollectorRegistry()
    monitor = LoopMonitor(registry=registry)
    guard = BlockBuster()
    guard.activate()
    try:
        async with (
            monitor,
            Watchdog(monitor, registry=registry),
            Pressure(monitor, rss_bytes=2**40),
            MemoryMonitor(registry=registry) as memory,
            GcMonitor(registry=registry),
            Threads(registry=registry) as threads,
            Processes(registry=registry) as processes,
        ):
            assert await processes.run(jobs.add, 1, 2) == 3
            assert await threads.run(jobs.add, 1, 2) == 3
            await asyncio.to_thread(generate_latest, registry)
            await asyncio.sleep(0.15)
            [logging] = memory._background._tasks
            assert not logging.done()
    finally:
        guard.deactivate()
