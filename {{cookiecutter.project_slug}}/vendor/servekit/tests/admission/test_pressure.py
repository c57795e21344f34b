import asyncio
import os
import sys
import time

import pytest
from prometheus_client import CollectorRegistry

from servekit.admission.pressure import Pressure
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.process_memory import own_rss_bytes, rss_bytes
from servekit.testing import patience


class Worker:
    """A monitored loop under pressure."""

    def __init__(self, **options):
        self.monitor = LoopMonitor(registry=CollectorRegistry(), utilization_seconds=0.3)
        self.pressure = Pressure(self.monitor, **options)

    async def __aenter__(self):
        await self.monitor.__aenter__()
        await self.pressure.__aenter__()
        await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *exception):
        await self.pressure.__aexit__(*exception)
        await self.monitor.__aexit__(*exception)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(patience(seconds)):
        while not condition():  # noqa: ASYNC110 - the sampler gives no event
            await asyncio.sleep(0.01)


async def test_a_late_loop_is_not_calm_and_lets_requests_in_one_turn_later():
    async with Worker() as worker:
        assert worker.pressure.calm()
        time.sleep(0.05)  # noqa: ASYNC251 - makes the loop late
        assert not worker.pressure.calm()
        assert await worker.pressure.refuse() is None
        await until(worker.pressure.calm)


async def test_a_worker_without_requests_dozes_and_the_first_one_wakes_it():
    async with Worker() as worker:
        await until(lambda: worker.monitor.dozing)
        assert not worker.pressure.calm()
        assert await worker.pressure.refuse() is None
        assert not worker.monitor.dozing
        assert worker.pressure.calm()


@pytest.mark.parametrize("held", ["in_flight", "websockets"])
async def test_a_worker_with_something_open_does_not_doze(held):
    async with Worker() as worker:
        setattr(worker.pressure, held, 1)
        await asyncio.sleep(0.4)
        assert not worker.monitor.dozing


async def test_lag_is_the_level_that_a_handler_may_look_at():
    async with Worker() as worker:
        for _ in range(4):
            time.sleep(0.2)  # noqa: ASYNC251 - lag above the limit
            await asyncio.sleep(0.001)
        await until(lambda: worker.pressure.level > 0.3)
        assert worker.pressure.reason == "event_loop_lag"


async def test_requests_in_flight_have_a_limit_that_critical_ones_may_pass():
    async with Worker(requests=10) as worker:
        worker.pressure.in_flight = 9
        assert await worker.pressure.refuse("normal") is None
        assert await worker.pressure.refuse("sheddable") == "requests"
        worker.pressure.in_flight = 10
        assert await worker.pressure.refuse("normal") == "requests"
        assert await worker.pressure.refuse("critical") is None


async def test_what_memory_sheds_follows_it_up_and_down():
    rss = 100.0
    async with Worker(rss_bytes=1000, read_rss_bytes=lambda: rss) as worker:
        pressure, now = worker.pressure, 0.0

        async def refuses_after(value):
            nonlocal rss, now
            rss, now = value, now + 2
            pressure._sampled = 0
            pressure.sample(time.monotonic())
            return "memory" in [await pressure.refuse() for _ in range(200)]

        assert not await refuses_after(999)
        assert await refuses_after(1050)
        assert not await refuses_after(1000)
        assert not await refuses_after(999)
        assert await refuses_after(2000)
        assert pressure.level == 1
        assert pressure.reason == "memory"
        assert await pressure.refuse("critical") is None


async def test_the_limit_of_requests_holds_for_those_that_waited_for_a_late_loop():
    most = 0

    async def served(pressure):
        nonlocal most
        if await pressure.refuse() is None:
            pressure.in_flight += 1
            most = max(most, pressure.in_flight)
            await asyncio.sleep(1)
            pressure.in_flight -= 1

    async def blocking():
        time.sleep(0.06)  # noqa: ASYNC251 - makes the loop late, within the turn of the others

    async with Worker(requests=10) as worker:
        await asyncio.gather(blocking(), *(served(worker.pressure) for _ in range(100)))
    assert most == 10


async def test_zero_disables_every_limit():
    async with Worker(loop_lag_seconds=0) as worker:
        time.sleep(0.3)  # noqa: ASYNC251 - would be far too long
        assert await worker.pressure.refuse() is None
        assert worker.pressure.level == 0


async def test_an_admitted_request_costs_next_to_nothing():
    async with Worker() as worker:
        best = 1.0
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(100):
                worker.pressure.calm()
            best = min(best, (time.perf_counter() - started) / 100)
        assert best < 2e-6


@pytest.mark.parametrize("options", [{}, {"requests": 5}, {"rss_bytes": 1}])
async def test_leaving_stops_the_sampling(options):
    async with Worker(**options) as worker:
        pass
    assert worker.monitor.listeners == []


async def test_before_it_is_entered_nothing_is_judged_by_lag():
    pressure = Pressure(LoopMonitor(registry=CollectorRegistry()))
    assert await pressure.refuse() is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_resident_memory_is_read_as_the_kernel_counts_it():
    assert own_rss_bytes() == pytest.approx(rss_bytes(os.getpid()), rel=0.1)
