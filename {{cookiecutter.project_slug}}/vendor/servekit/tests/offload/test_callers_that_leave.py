"""Callers that leave again and again: few of them cost a process, the other calls go on."""

import asyncio
import gc
import os
import signal

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servekit.offload.kill_budget import KillBudget
from servekit.offload.processes import Processes
from servekit.testing import patience
from tests.offload import jobs
from tests.offload.test_processes import gone, until


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Left:
    """A pool whose budget of kills is used up."""

    def __init__(self, **options):
        self.registry = CollectorRegistry()
        self.pool = Processes(registry=self.registry, **options)
        self.pool._kills = KillBudget(burst=0)

    async def __aenter__(self):
        await self.pool.__aenter__()
        await self.pool.run(jobs.add, 1, 1)
        return self

    async def __aexit__(self, *exception):
        await self.pool.__aexit__(*exception)

    async def leave(self, path, function, *args, **options):
        """Ask for work, and leave once it writes its process's id to a file."""
        caller = asyncio.create_task(self.pool.run(function, str(path), *args, **options))
        await until(lambda: path.exists() and path.read_text())
        caller.cancel()
        await asyncio.wait([caller])
        return int(path.read_text())

    def count(self, name):
        return self.registry.get_sample_value(f"offload_{name}_total", {"pool": "processes"})


def test_a_budget_allows_a_burst_and_then_one_in_two_seconds():
    clock = Clock()
    budget = KillBudget(burst=5, per_second=0.5, clock=clock)
    assert [budget.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now += 1.9
    assert not budget.take()
    clock.now += 0.2
    assert [budget.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [budget.take() for _ in range(7)] == [True] * 5 + [False] * 2


async def test_callers_that_hang_up_in_a_loop_kill_no_more_than_the_burst():
    registry = CollectorRegistry()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    async with Processes(registry=registry, size=1, queue=1) as pool:
        for _ in range(40):
            caller = asyncio.create_task(pool.run(jobs.spin, 0.05))
            await until(lambda: pool.busy == 1 and not pool.waiting)
            await asyncio.sleep(0.01)
            caller.cancel()
            await asyncio.wait([caller])
        assert await pool.run(jobs.add, 1, 2) == 3
    restarts = registry.get_sample_value("offload_worker_restarts_total", {"pool": "processes"})
    assert restarts is not None
    assert restarts <= 5 + patience(2)
    gc.collect()
    assert complaints == []


async def test_work_that_nobody_waits_for_keeps_its_place_and_its_result_is_nobody_elses(tmp_path):
    async with Left(size=1, queue=3) as left:
        first = await left.leave(tmp_path / "pid", jobs.touch_then_spin, 0.3)
        assert (left.pool.busy, left.count("unwanted")) == (1, 1)
        assert await left.pool.run(jobs.add, 20, 3) == 23
        assert await left.pool.run(jobs.pid) == first
        assert left.pool.busy == 0
        assert left.count("worker_restarts") == 0


async def test_work_that_nobody_waits_for_ends_with_its_time_limit(tmp_path):
    async with Left(size=1) as left:
        first = await left.leave(
            tmp_path / "pid", jobs.touch_then_spin, 60, timeout_seconds=patience(0.5)
        )
        await until(lambda: gone(first) and left.pool.busy == 0)
        assert await left.pool.run(jobs.add, 1, 2) == 3


async def test_a_process_that_dies_of_work_that_nobody_waits_for_is_replaced(tmp_path):
    async with Left(size=1) as left:
        first = await left.leave(tmp_path / "pid", jobs.touch_then_spin, 60)
        os.kill(first, signal.SIGKILL)
        assert await left.pool.run(jobs.pid) != first
        assert left.pool.busy == 0


@pytest.mark.filterwarnings("error")
async def test_a_pool_closes_in_the_middle_of_work_that_nobody_waits_for(tmp_path):
    async with Left(size=1) as left:
        first = await left.leave(tmp_path / "pid", jobs.touch_then_spin, 60)
    assert gone(first)
    assert left.pool.busy == 0


async def test_an_error_that_nobody_waits_for_is_a_record():
    async with Left() as left:
        with capture_logs() as lines:
            call = asyncio.create_task(left.pool.run(jobs.fail_later, 0.2, "late"))
            await asyncio.sleep(0.05)
            call.cancel()
            async with asyncio.timeout(patience(5)):
                while not lines:  # noqa: ASYNC110 - another process gives no event
                    await asyncio.sleep(0.01)
        assert await left.pool.run(jobs.add, 1, 2) == 3
    [line] = lines
    assert line["event"] == "abandoned_process_failed"
    assert isinstance(line["exc_info"], KeyError)
    assert "in fail_later" in str(line["exc_info"].__cause__)
