import asyncio
import json
import os
import threading

from prometheus_client import CollectorRegistry

from servekit.monitors import heap
from servekit.monitors.profiling import Profiling
from servekit.offload.processes import Processes
from servekit.own_threads import in_own_thread
from servekit.testing import patience
from tests.offload import jobs


async def test_what_a_worker_does_by_itself_waits_for_no_thread_of_the_application(monkeypatch):
    monkeypatch.setattr(heap, "NICE", 0)  # no nicer than the time that is left here
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    taken = [
        loop.run_in_executor(None, gate.wait, patience(30))
        for _ in range((os.cpu_count() or 1) + 8)
    ]
    try:
        async with asyncio.timeout(patience(20)):
            assert await in_own_thread(threading.active_count) > 1
            assert json.loads(await Profiling().heap({}))["types"]
            async with Processes(registry=CollectorRegistry(), size=1) as processes:
                assert await processes.run(jobs.add, 1, 2) == 3
        assert not any(each.done() for each in taken)
    finally:
        gate.set()
        await asyncio.gather(*taken)
