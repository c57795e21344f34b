import asyncio
import os
import sys
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.runtime.monitors.loop_monitor import LoopMonitor
from service.runtime.monitors.pressure import Pressure, own_rss_bytes
from service.runtime.monitors.process_memory import rss_bytes


class Worker:
    """A monitored loop under pressure, with requests of 5 ms."""

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

    async def request(self, importance):
        reason = self.pressure.refuse(importance)
        if reason is None:
            time.sleep(0.005)  # noqa: ASYNC251 - stands for work on the loop
        return reason

    async def burst(self, number, importance="normal"):
        """Start so many requests in one turn of the loop; return the reasons of the refused."""
        reasons = await asyncio.gather(*(self.request(importance) for _ in range(number)))
        return [reason for reason in reasons if reason]


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the sampler gives no event
            await asyncio.sleep(0.01)


async def test_a_burst_that_is_worked_off_in_time_loses_nothing():
    async with Worker() as worker:
        assert await worker.burst(20) == []
        assert not worker.pressure.overloaded


async def test_a_burst_too_long_is_cut_at_a_quarter_of_a_second():
    async with Worker() as worker:
        started = time.monotonic()
        refused = await worker.burst(150)
        assert time.monotonic() - started < 0.6
        assert set(refused) == {"event_loop_lag"}
        assert 10 <= 150 - len(refused) <= 60
        assert worker.pressure.overloaded


async def test_those_who_waited_for_one_blocking_call_are_served():
    async with Worker() as worker:

        async def light():
            return worker.pressure.refuse()

        async def blocking():
            time.sleep(0.5)  # noqa: ASYNC251 - the block

        assert set(await asyncio.gather(blocking(), *(light() for _ in range(20)))) == {None}
        assert not worker.pressure.overloaded


async def test_overloaded_each_turn_starts_what_fits_and_critical_requests():
    async with Worker() as worker:
        worker.pressure._enter()
        for _ in range(5):
            assert len(await worker.burst(10)) == 9
        assert await worker.burst(5, "critical") == []


async def test_sheddable_requests_go_first():
    async with Worker() as worker:
        worker.pressure._enter()
        assert len(await worker.burst(4, "sheddable")) == 3
        await worker.burst(4)
        assert len(await worker.burst(4, "sheddable")) == 4


async def test_lag_that_lasts_is_overload_and_ends_when_the_loop_is_idle_again(monkeypatch):
    monkeypatch.setattr("service.runtime.monitors.pressure.PATIENCE_SECONDS", 0.5)
    with capture_logs() as logs:
        async with Worker() as worker:
            for _ in range(4):
                time.sleep(0.1)  # noqa: ASYNC251 - lag above the limit
                await asyncio.sleep(0.001)
            assert not worker.pressure.overloaded
            for _ in range(4):
                time.sleep(0.1)  # noqa: ASYNC251 - without end
                await asyncio.sleep(0.001)
            assert worker.pressure.overloaded
            assert worker.pressure.level > 0.3
            assert worker.pressure.reason == "event_loop_lag"
            await until(lambda: not worker.pressure.overloaded)
    assert [record["event"] for record in logs] == ["overload_began", "overload_ended"]


async def test_requests_in_flight_have_a_limit_that_critical_ones_may_pass():
    async with Worker(requests=10) as worker:
        worker.pressure.in_flight = 9
        assert worker.pressure.refuse("normal") is None
        assert worker.pressure.refuse("sheddable") == "requests"
        worker.pressure.in_flight = 10
        assert worker.pressure.refuse("normal") == "requests"
        assert worker.pressure.refuse("critical") is None


async def test_memory_above_its_limit_sheds_until_it_is_well_below():
    rss = 100.0
    async with Worker(rss_bytes=1000, read_rss_bytes=lambda: rss) as worker:
        pressure, now = worker.pressure, 0.0

        def refuses_after(value):
            nonlocal rss, now
            rss, now = value, now + 2
            pressure._sampled = 0
            pressure.sample(time.monotonic())
            return any(pressure.refuse() == "memory" for _ in range(200))

        assert not refuses_after(999)
        assert refuses_after(1050)
        assert refuses_after(900)  # above 80 %: it began, so it goes on
        assert not refuses_after(790)
        assert not refuses_after(900)
        assert refuses_after(2000)
        assert pressure.level == 1
        assert pressure.reason == "memory"
        assert pressure.refuse("critical") is None


async def test_zero_disables_every_limit():
    async with Worker(loop_lag_seconds=0) as worker:
        time.sleep(0.3)  # noqa: ASYNC251 - would be far too long
        assert worker.pressure.refuse() is None
        await until(lambda: worker.monitor.slot_lag_min == 0 or worker.monitor.lag_seconds > 0)
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
    assert pressure.refuse() is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_resident_memory_is_read_as_the_kernel_counts_it():
    assert own_rss_bytes() == pytest.approx(rss_bytes(os.getpid()), rel=0.1)
