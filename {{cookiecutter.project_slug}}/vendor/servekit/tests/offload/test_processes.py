import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.contextvars import bound_contextvars

from servekit.offload import process as module
from servekit.offload.errors import (
    OffloadCrashed,
    OffloadError,
    OffloadRejected,
    OffloadTimeout,
)
from servekit.offload.processes import Processes
from servekit.resilience.deadlines import Deadline, current_deadline
from servekit.testing import patience
from tests.offload import jobs


def pool(**options) -> Processes:
    return Processes(registry=CollectorRegistry(), **options)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(patience(seconds)):
        while not condition():  # noqa: ASYNC110 - another process gives no event
            await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # just now, or there is no /proc
        return Path("/proc/self").exists()
    return status.rsplit(")", 1)[1].split()[0] == "Z"


async def test_a_result_and_an_exception_come_back_with_the_remote_traceback():
    async with pool() as processes:
        assert await processes.run(jobs.add, 1, 2) == 3
        with pytest.raises(KeyError, match="lost") as caught:
            await processes.run(jobs.fail, "lost")
        assert "jobs.py" in str(caught.value.__cause__)
        with pytest.raises(OffloadError, match="LocalError: only here"):
            await processes.run(jobs.fail_beyond_pickling)
        with pytest.raises(OffloadError, match="SystemExit: 3"):
            await processes.run(jobs.leave)
        with pytest.raises(TypeError, match="pickle"):
            await processes.run(jobs.unpicklable)
        assert len(processes.pids) == 1


async def test_a_function_that_another_process_cannot_import_is_refused_by_name():
    async with pool() as processes:
        with pytest.raises(TypeError, match="module-level"):
            await processes.run(lambda: 1)


async def test_what_a_function_prints_does_not_disturb_the_channel(capfd):
    async with pool() as processes:
        assert await processes.run(jobs.shout) == "heard"
        assert await processes.run(jobs.add, 1, 1) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "not a frame" in err


async def test_the_log_context_of_the_request_is_carried():
    async with pool() as processes:
        with bound_contextvars(request_id="r-1", not_plain=object()):
            assert await processes.run(jobs.log_context) == {"request_id": "r-1"}
        assert await processes.run(jobs.log_context) == {}


async def test_a_deadline_kills_that_process_only_and_replaces_it():
    registry = CollectorRegistry()
    async with Processes(registry=registry, size=2) as processes:
        await asyncio.gather(*(processes.run(jobs.spin, 0.05) for _ in range(2)))
        await until(lambda: len(processes.pids) == 2)
        other = asyncio.create_task(processes.run(jobs.spin, 0.5))
        await until(lambda: processes.busy == 1)
        started = time.monotonic()
        with pytest.raises(OffloadTimeout):
            await processes.run(jobs.spin, 30, timeout_seconds=0.2)
        assert time.monotonic() - started < patience(2)
        assert await other > 0
        await until(lambda: len(processes.pids) == 2)
        assert await processes.run(jobs.add, 1, 2) == 3
    labels = {"pool": "processes"}
    assert registry.get_sample_value("offload_timeouts_total", labels) == 1
    assert registry.get_sample_value("offload_worker_restarts_total", labels) == 1
    assert registry.get_sample_value("offload_run_seconds_count", labels) == 5


async def test_a_crash_fails_that_call_only():
    async with pool(size=2) as processes:
        other = asyncio.create_task(processes.run(jobs.spin, 0.3))
        await until(lambda: processes.busy == 1)
        with pytest.raises(OffloadCrashed, match="SIGKILL"):
            await processes.run(jobs.kill_self)
        assert await other > 0
        assert await processes.run(jobs.add, 1, 2) == 3


async def test_an_idle_process_that_died_is_replaced_without_a_failed_call():
    async with pool() as processes:
        first = await processes.run(jobs.pid)
        os.kill(first, 9)
        await until(lambda: first not in processes.pids)
        assert await processes.run(jobs.pid) != first


async def test_a_full_queue_rejects_at_once_with_a_time_to_come_back():
    registry = CollectorRegistry()
    async with Processes(registry=registry, size=1, queue=1) as processes:
        running = asyncio.create_task(processes.run(jobs.spin, 0.5))
        queued = asyncio.create_task(processes.run(jobs.add, 1, 1))
        await until(lambda: processes.waiting == 1)
        assert registry.get_sample_value("offload_queue_size", {"pool": "processes"}) == 1
        with pytest.raises(OffloadRejected) as caught:
            await processes.run(jobs.add, 1, 1)
        assert not running.done()
        assert caught.value.retry_after >= 1
        assert await queued == 2
        await running


async def test_a_handful_of_callers_wait_for_a_pool_of_one_also_while_it_starts():
    async with pool(size=1) as processes:
        results = await asyncio.gather(*(processes.run(jobs.add, n, 1) for n in range(9)))
    assert results == list(range(1, 10))


async def test_a_cancelled_caller_kills_its_call_or_leaves_the_queue(tmp_path):
    async with pool(queue=5) as processes:
        path = tmp_path / "pid"
        running = asyncio.create_task(processes.run(jobs.touch_then_spin, str(path), 30))
        never = tmp_path / "never"
        queued = asyncio.create_task(processes.run(jobs.touch_then_spin, str(never), 0))
        await until(lambda: path.exists() and path.read_text() and processes.waiting == 1)
        queued.cancel()
        await asyncio.wait([queued])
        assert processes.waiting == 0
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: gone(int(path.read_text())))
        assert await processes.run(jobs.add, 1, 2) == 3
        assert not never.exists()
        assert processes.busy == 0


async def test_a_process_is_replaced_after_so_many_calls():
    async with pool(recycle_calls=3) as processes:
        assert len({await processes.run(jobs.pid) for _ in range(6)}) == 2


async def test_a_process_is_replaced_above_its_memory_limit():
    async with pool(recycle_rss_bytes=1) as processes:
        assert await processes.run(jobs.pid) != await processes.run(jobs.pid)


async def test_a_process_starts_warm_initialised_and_nice():
    async with pool(preload=("sqlite3",), initializer=jobs.mark, nice=3) as processes:
        await until(lambda: processes.pids)
        assert await processes.run(jobs.marked) == ("initialised", True)
        assert await processes.run(jobs.niceness) == os.nice(0) + 3


async def test_a_signal_to_the_whole_group_leaves_calls_to_end():
    async with pool() as processes:
        assert await processes.run(jobs.interrupt_self) == "still here"


async def test_a_process_that_cannot_start_costs_the_deadline_and_is_tried_again():
    async with pool(preload=("no_such_module",)) as processes:
        with pytest.raises(OffloadTimeout):
            await processes.run(jobs.add, 1, 2, timeout_seconds=0.3)
        assert processes.busy == 0


async def test_closing_leaves_no_process_even_in_the_middle_of_a_start_or_a_call(tmp_path):
    path = tmp_path / "pid"
    async with pool(size=2) as processes:
        running = asyncio.create_task(processes.run(jobs.touch_then_spin, str(path), 30))
        await until(lambda: path.exists() and path.read_text())
        starting = asyncio.create_task(processes.run(jobs.add, 1, 2))
        await asyncio.sleep(0.005)
    assert gone(int(path.read_text()))
    starting.cancel()
    with pytest.raises(OffloadCrashed):
        await running
    await asyncio.wait([starting])
    with pytest.raises(RuntimeError, match="not open"):
        await processes.run(jobs.add, 1, 2)


OWNER = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from servekit.offload.processes import Processes
from tests.offload import jobs

async def main():
    async with Processes(registry=CollectorRegistry()) as processes:
        await processes.run(jobs.touch_then_spin, sys.argv[1], 60)

asyncio.run(main())
"""


async def test_a_process_ends_with_its_owner_in_the_middle_of_a_call(tmp_path):
    path = tmp_path / "pid"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, env=environment) as owner:  # noqa: ASYNC220 - a test may wait
        await until(lambda: path.exists() and path.read_text())
        owner.kill()
    await until(lambda: gone(int(path.read_text())))


async def test_a_process_that_has_nothing_to_do_ends_in_order(tmp_path):
    paths = [tmp_path / str(number) for number in range(5)]
    for path in paths:
        async with pool() as processes:
            await processes.run(jobs.note_exit, str(path))
    assert [path.read_text() for path in paths] == ["ended in order"] * 5


async def test_a_request_out_of_time_costs_no_process():
    async with pool() as processes:
        first = await processes.run(jobs.pid)
        deadline = Deadline(1)
        deadline.at = 0
        current_deadline.set(deadline)
        with pytest.raises(OffloadTimeout):
            await processes.run(jobs.pid)
        current_deadline.set(None)
        assert await processes.run(jobs.pid) == first


def test_it_works_on_the_standard_loop_too():
    async def call_and_crash():
        async with pool() as processes:
            with pytest.raises(OffloadCrashed):
                await processes.run(jobs.kill_self)
            return await processes.run(jobs.add, 1, 2)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(call_and_crash()) == 3


async def test_all_but_one_end_when_they_have_nothing_to_do(tmp_path):
    async with pool(size=3, queue=3, idle_seconds=0.3) as processes:
        end = tmp_path / "end"
        calls = asyncio.gather(*(processes.run(jobs.wait_for, end) for _ in range(3)))
        await until(lambda: processes.busy == 3 and len(processes.pids) == 3)
        ending = processes.pids
        end.touch()
        await calls
        await until(lambda: len(processes.pids) == 1)
        kept = processes.pids[0]
        await until(lambda: all(gone(pid) for pid in ending if pid != kept))
        assert await processes.run(os.getpid) == kept


@pytest.mark.parametrize("turns", [0, 1, 2, 10, 100])
async def test_a_pool_that_is_closed_while_it_starts_leaves_no_process(turns, monkeypatch):
    begun, started = [], []
    spawn = module._spawn

    def spawn_noted(channel):
        begun.append(channel)
        started.append(spawn(channel))
        return started[-1]

    monkeypatch.setattr(module, "_spawn", spawn_noted)
    async with pool(size=1):
        for _ in range(turns):
            await asyncio.sleep(0)
    assert len(started) == len(begun), "one is still being started"
    assert [process for process in started if process.returncode is None] == []
