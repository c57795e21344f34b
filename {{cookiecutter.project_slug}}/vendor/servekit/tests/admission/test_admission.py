import asyncio
import time

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servekit.admission import admission as module
from servekit.admission.admission import Admission
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.testing import patience


class Worker:
    """A monitored loop with a queue in front; a request computes for 5 ms."""

    def __init__(self, lag_seconds=0.07):
        self.monitor = LoopMonitor(registry=CollectorRegistry(), utilization_seconds=0.3)
        self.admission = Admission(self.monitor, lag_seconds=lag_seconds)
        self.order = []

    async def __aenter__(self):
        await self.monitor.__aenter__()
        self.monitor.listeners.append(self.admission.sample)
        return self

    async def __aexit__(self, *exception):
        await self.monitor.__aexit__(*exception)

    async def request(self, name=0, importance="normal", client="a", seconds=0.005):
        admitted = await self.admission.admit(importance, client)
        if admitted:
            self.order.append(name)
            time.sleep(seconds)  # noqa: ASYNC251 - stands for work on the loop
        return admitted

    async def burst(self, number, **options):
        """Start so many in one turn of the loop; return how many were admitted."""
        answers = await asyncio.gather(*(self.request(name, **options) for name in range(number)))
        return sum(answers)


class Clock:
    """Time that passes only while requests work: a pause of the machine is no part of it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(time, "sleep", self.pass_by)

    def monotonic(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


async def until(condition, seconds=5.0):
    async with asyncio.timeout(patience(seconds)):
        while not condition():  # noqa: ASYNC110 - the sampler gives no event
            await asyncio.sleep(0.01)


async def test_a_burst_worked_off_in_time_loses_nothing_and_keeps_its_order_at_first(monkeypatch):
    Clock(monkeypatch)
    async with Worker() as worker:
        assert await worker.burst(20) == 20
        assert worker.order[:8] == list(range(8))
        assert not worker.admission.overloaded
        await until(lambda: not worker.admission.queueing)


async def test_of_a_burst_too_long_a_fifth_of_a_second_is_served(monkeypatch):
    clock = Clock(monkeypatch)
    async with Worker() as worker:
        await worker.burst(5)  # what a request costs is known
        started = clock.now
        admitted = await worker.burst(200)
        assert clock.now - started < 0.3
        assert 4 <= admitted <= 60
        assert worker.admission.overloaded


async def test_cheap_requests_are_started_by_the_dozen(monkeypatch):
    Clock(monkeypatch)
    async with Worker() as worker:
        assert await worker.burst(300, seconds=0.0001) == 300
        assert not worker.admission.overloaded


async def test_overloaded_the_newest_go_first():
    async with Worker() as worker:
        worker.admission._begin_overload(time.monotonic())
        await worker.burst(8)
        assert worker.order[0] == 7


async def test_while_some_are_refused_nobody_is_served_late(monkeypatch):
    Clock(monkeypatch)
    async with Worker() as worker:
        worker.admission._begin_overload(time.monotonic())
        worker.admission._cost, worker.admission._queue_limit = 0.005, 14
        assert await worker.burst(12) == 12
        assert await worker.burst(20) == 5
        assert await worker.burst(14, importance="critical") == 14


async def test_a_queue_that_lasts_is_overload_and_ends_when_the_loop_is_idle(monkeypatch):
    monkeypatch.setattr(module, "QUEUEING_SECONDS_MAX", 0.2)
    with capture_logs() as logs:
        async with Worker() as worker, asyncio.TaskGroup() as tasks:
            for _ in range(80):  # one comes each time that one is done
                tasks.create_task(worker.request())
                tasks.create_task(worker.request())
                await asyncio.sleep(0.006)
                if worker.admission.overloaded:
                    break
            assert worker.admission.overloaded
            await until(lambda: not worker.admission.overloaded)
            await until(lambda: not worker.admission.queueing)
    assert [record["event"] for record in logs] == ["overload_began", "overload_ended"]


async def test_those_who_waited_for_one_blocking_call_are_served(monkeypatch):
    Clock(monkeypatch)
    async with Worker() as worker:
        time.sleep(0.5)  # noqa: ASYNC251 - the block
        assert await worker.burst(30, seconds=0) == 30
        assert not worker.admission.overloaded


async def test_a_client_that_leaves_the_line_gives_up_its_place():
    async with Worker() as worker:
        leaving = asyncio.create_task(worker.request())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert len(worker.admission._queue) == 0
        assert await worker.burst(3) == 3
        await until(lambda: not worker.admission.queueing)


async def test_the_short_queue_of_an_overload_is_not_short_for_critical_requests():
    async with Worker() as worker:
        worker.admission._begin_overload(time.monotonic())
        worker.admission._cost, worker.admission._queue_limit = 0.006, 5
        assert await worker.burst(15) < 15
        assert await worker.burst(15, importance="critical") == 15
