import asyncio
import contextvars
import subprocess
import sys
import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from servekit.offload.capacity import QUEUE_MIN
from servekit.offload.errors import OffloadError, OffloadRejected, OffloadTimeout
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads
from servekit.resilience.deadlines import Deadline, current_deadline
from servekit.testing import patience
from tests.offload import jobs

REQUEST = contextvars.ContextVar("REQUEST", default="none")


async def until(condition, seconds=5.0):
    async with asyncio.timeout(patience(seconds)):
        while not condition():  # noqa: ASYNC110 - a thread gives no event
            await asyncio.sleep(0.001)


async def test_a_call_runs_in_a_thread_with_the_callers_context():
    async with Threads(registry=CollectorRegistry()) as threads:
        REQUEST.set("r-1")
        assert await threads.run(REQUEST.get) == "r-1"
        assert await threads.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(KeyError, match="lost"):
            await threads.run(jobs.fail, "lost")


async def test_what_would_end_the_loop_comes_back_as_an_error():
    async with Threads(registry=CollectorRegistry()) as threads:
        with pytest.raises(OffloadError, match="SystemExit"):
            await threads.run(jobs.leave)
        with pytest.raises(OffloadError, match="StopIteration"):
            await threads.run(next, iter([]))
        with pytest.raises(TimeoutError, match="its own"):
            await threads.run(raise_timeout)


def raise_timeout():
    raise TimeoutError("its own")


@pytest.mark.parametrize(("size", "queue"), [(4, QUEUE_MIN), (20, 10)])
async def test_the_queue_is_bounded_at_half_the_pool_or_a_handful_and_the_rest_is_rejected(
    size, queue
):
    registry = CollectorRegistry()
    stop = threading.Event()
    async with Threads(registry=registry, size=size) as threads:
        calls = [asyncio.create_task(threads.run(stop.wait, 10)) for _ in range(size + queue + 14)]
        await until(lambda: sum(call.done() for call in calls) == 14)
        assert (threads.busy, threads.waiting) == (size, queue)
        stop.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result is True for result in results) == size + queue
    rejected = [error for error in results if isinstance(error, OffloadRejected)]
    assert len(rejected) == 14
    assert len({error.retry_after for error in rejected}) > 1
    assert registry.get_sample_value("offload_rejected_total", {"pool": "threads"}) == 14
    assert registry.get_sample_value("offload_queue_size", {"pool": "threads"}) == 0


async def test_a_call_past_its_deadline_is_abandoned_but_keeps_its_place():
    registry = CollectorRegistry()
    stop = threading.Event()
    async with Threads(registry=registry, size=1) as threads:
        with pytest.raises(OffloadTimeout):
            await threads.run(stop.wait, 10, timeout_seconds=0.05)
        assert threads.busy == 1
        with pytest.raises(OffloadTimeout):
            await threads.run(time.monotonic, timeout_seconds=0.05)
        stop.set()
        await until(lambda: threads.busy == 0)
        assert await threads.run(time.monotonic) > 0
    assert registry.get_sample_value("offload_timeouts_total", {"pool": "threads"}) == 2


async def test_a_cancelled_caller_leaves_the_queue_without_running():
    ran = threading.Event()
    stop = threading.Event()
    async with Threads(registry=CollectorRegistry(), size=1, queue=3) as threads:
        running = asyncio.create_task(threads.run(stop.wait, 10))
        await until(lambda: threads.busy == 1)
        queued = asyncio.create_task(threads.run(ran.set))
        await until(lambda: threads.waiting == 1)
        queued.cancel()
        await asyncio.wait([queued])
        assert threads.waiting == 0
        stop.set()
        await running
        assert await threads.run(time.monotonic) > 0
    assert not ran.is_set()


async def test_a_caller_cancelled_as_its_turn_comes_passes_the_place_on():
    stop = threading.Event()
    async with Threads(registry=CollectorRegistry(), size=1, queue=3) as threads:
        running = asyncio.create_task(threads.run(stop.wait, 10))
        await until(lambda: threads.busy == 1)
        queued = asyncio.create_task(threads.run(time.monotonic))
        await until(lambda: threads.waiting == 1)
        threads._capacity.release(0)
        queued.cancel()
        await asyncio.wait([queued])
        assert threads.busy == 0
        stop.set()
        await running


async def test_pools_of_one_registry_share_their_families():
    registry = CollectorRegistry()
    async with Threads(registry=registry) as threads:
        Processes(registry=registry)
        await threads.run(time.monotonic)
    assert registry.get_sample_value("offload_run_seconds_count", {"pool": "threads"}) == 1
    assert registry.get_sample_value("offload_run_seconds_count", {"pool": "processes"}) == 0


ABANDON = """
import asyncio, time
from prometheus_client import CollectorRegistry
from servekit.offload.errors import OffloadTimeout
from servekit.offload.threads import Threads

async def main():
    async with Threads(registry=CollectorRegistry()) as threads:
        try:
            await threads.run(time.sleep, 60, timeout_seconds=0.05)
        except OffloadTimeout:
            print("abandoned")

asyncio.run(main())
"""


def test_an_abandoned_call_does_not_hold_up_the_exit():
    started = time.monotonic()
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{ABANDON}"]
    output = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(10), check=True
    ).stdout
    assert output == "abandoned\n"
    assert time.monotonic() - started < patience(5)


async def test_the_deadline_of_the_request_limits_the_call():
    stop = threading.Event()
    async with Threads(registry=CollectorRegistry()) as threads:
        current_deadline.set(Deadline(0.05))
        started = time.monotonic()
        with pytest.raises(OffloadTimeout):
            await threads.run(stop.wait, 10)
        assert time.monotonic() - started < patience(2)
        stop.set()


async def test_an_error_that_nobody_waits_for_is_a_record_of_its_request():
    error = ValueError("late")

    def fail() -> None:
        time.sleep(0.1)
        raise error

    async with Threads(registry=CollectorRegistry()) as threads:
        with capture_logs(processors=[merge_contextvars]) as lines:
            with bound_contextvars(request_id="r1"), pytest.raises(OffloadTimeout):
                await threads.run(fail, timeout_seconds=0.02)
            async with asyncio.timeout(patience(5)):
                while not lines:  # noqa: ASYNC110 - a thread gives no event
                    await asyncio.sleep(0.01)
    [line] = lines
    assert (line["event"], line["exc_info"]) == ("abandoned_thread_failed", error)
    assert line["request_id"] == "r1"
