import asyncio
import hashlib
import sys
import threading
import time

import pytest
import structlog
import uvloop
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servekit.monitors import busy_clock, stall_evidence, watchdog
from servekit.monitors.alarm import PolledAlarm
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.stall_evidence import CpuReading
from servekit.monitors.watchdog import Watchdog
from servekit.testing import patience


@pytest.fixture(autouse=True, params=["the kernel's alarm", "polled"])
def either_alarm(request, monkeypatch):
    if request.param == "polled":
        monkeypatch.setattr(watchdog, "alarm", PolledAlarm)


class Watched:
    """A monitor with its watchdog, and what they logged."""

    def __init__(self, **options):
        self.registry = CollectorRegistry()
        self.monitor = LoopMonitor(registry=self.registry)
        self.watchdog = Watchdog(self.monitor, registry=self.registry, **options)

    async def __aenter__(self):
        await self.monitor.__aenter__()
        await self.watchdog.__aenter__()
        await asyncio.sleep(0.03)
        return self

    async def __aexit__(self, *exception):
        await self.watchdog.__aexit__(*exception)
        await self.monitor.__aexit__(*exception)

    def count(self, route=""):
        return self.registry.get_sample_value("asyncio_eventloop_blocked_total", {"route": route})


BLOCK_SECONDS = 0.3
"""What a busy machine leaves of it is still a block: what the thread had no CPU for is not one."""


async def records_of(logs, number, event="event_loop_blocked"):
    async with asyncio.timeout(patience(10)):
        while True:
            found = [record for record in logs if record["event"] == event]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.005)


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_blocking_call_is_logged_once_with_length_line_stack_and_cause():
    with capture_logs() as logs:
        async with Watched() as watched:
            started = time.monotonic()
            time.sleep(0.2)  # noqa: ASYNC251 - the block
            blocked = time.monotonic() - started
            [record] = await records_of(logs, 1)
            await asyncio.sleep(0.05)
            assert watched.count() == 1
    assert len(logs) == 1
    assert record["blocked_seconds"] == pytest.approx(blocked, abs=patience(0.03))
    assert record["ended"]
    assert record["cause"] == "blocking_call"
    assert "test_watchdog.py" in record["location"]
    assert record["location"] == record["stack"].splitlines()[0]


async def test_a_request_that_wakes_a_dozing_monitor_and_blocks_is_reported():
    with capture_logs() as logs:
        async with Watched() as watched:
            watched.monitor.doze()
            async with asyncio.timeout(patience(10)):
                while watched.monitor.tick_seconds <= watched.monitor.interval_seconds:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.01)
            beat = watched.monitor.last_tick
            while watched.monitor.last_tick == beat:  # noqa: ASYNC110 - ends at the very tick
                await asyncio.sleep(0.001)
            watched.monitor.wake()
            # The block, over before the next tick of a doze; the watchdog gets a CPU meanwhile.
            block = min(patience(0.07), 0.4)
            time.sleep(block)  # noqa: ASYNC251 - as said
            [record] = await records_of(logs, 1)
    assert record["blocked_seconds"] == pytest.approx(block, abs=patience(0.03))


async def test_a_task_whose_last_line_has_ended_is_not_blamed_on_what_runs_the_loop():
    async with Watched() as watched:
        frame = sys._getframe()
        assert watched.watchdog._running_in(frame) is asyncio.current_task()
        watched.monitor.loop_frame = frame
        assert watched.watchdog._running_in(frame) is not asyncio.current_task()


async def test_a_doze_is_no_block_and_a_block_in_it_has_its_length():
    with capture_logs() as logs:
        async with Watched() as watched:
            watched.monitor.doze()
            await asyncio.sleep(0.5)
            assert logs == []
            time.sleep(0.3)  # noqa: ASYNC251 - the block
            [record] = await records_of(logs, 1)
    assert record["blocked_seconds"] == pytest.approx(0.28, abs=patience(0.06))


async def test_a_computation_is_told_from_a_blocking_call():
    with capture_logs() as logs:
        async with Watched():
            burn(0.15)
            [record] = await records_of(logs, 1)
    assert record["cause"] == "cpu"
    assert "burn" in record["location"]


async def test_a_block_in_c_that_releases_the_gil_is_seen_at_its_python_line():
    with capture_logs() as logs:
        async with Watched():
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1_000_000)
            [record] = await records_of(logs, 1)
    assert record["cause"] == "cpu"
    assert "test_a_block_in_c" in record["location"]


async def test_a_short_hold_is_no_block():
    with capture_logs() as logs:
        async with Watched() as watched:
            time.sleep(0.03)  # noqa: ASYNC251 - shorter than the limit
            await asyncio.sleep(0.05)
            assert watched.count() is None
    assert logs == []


async def test_of_50_tasks_only_the_one_that_blocks_is_named():
    async def request(number):
        await asyncio.sleep(0.01)
        if number == 17:
            time.sleep(0.1)  # noqa: ASYNC251 - the block
        await asyncio.sleep(0.05)

    with capture_logs() as logs:
        async with Watched(), asyncio.timeout(patience(10)):
            while not logs:  # nobody is named where the machine had no time for the block
                tasks = [asyncio.create_task(request(n), name=f"request-{n}") for n in range(50)]
                await asyncio.gather(*tasks)
                await asyncio.sleep(0.1)
    assert {line["task"] for line in logs if line["event"] == "event_loop_blocked"} == {
        "request-17"
    }


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_many_short_callbacks_are_blamed_on_nobody(factory):
    def short():
        end = time.monotonic() + 0.004
        while time.monotonic() < end:
            pass

    async def many():
        with capture_logs() as logs:
            async with Watched():
                for _ in range(60):
                    loop.call_soon(short)
                return await records_of(logs, 1)

    loop = factory()
    [record] = loop.run_until_complete(many())  # as a worker does it, without a runner
    loop.close()
    assert record["cause"] == "many_callbacks"
    assert record["stack"] == ""


async def test_a_place_is_logged_once_in_a_while_and_counted_each_time():
    def place():
        time.sleep(0.08)

    quiet = patience(0.5)
    with capture_logs() as logs:
        async with Watched(quiet_seconds=quiet) as watched, asyncio.timeout(patience(10)):
            while (watched.count() or 0) < 3:  # one without a CPU meanwhile is not counted
                place()
                await asyncio.sleep(0.05)
            assert len(logs) == 1
            await asyncio.sleep(quiet)
            while len(logs) == 1:
                place()
                await asyncio.sleep(0.05)
            records = await records_of(logs, 2)
    first, second = (record["suppressed"] for record in records)
    assert first == 0
    assert 2 <= second <= watched.count() - 2


async def test_a_block_without_end_is_logged_while_it_lasts(monkeypatch):
    monkeypatch.setattr("servekit.monitors.watchdog.FOLLOW_SECONDS", 0.1)
    with capture_logs() as logs:
        async with Watched():
            deadline = time.monotonic() + patience(10)
            while not logs and time.monotonic() < deadline:
                time.sleep(0.01)  # noqa: ASYNC251 - blocks until the record is there
            assert logs[0]["event"] == "event_loop_blocked"
            assert not logs[0]["ended"]
            await records_of(logs, 1, "event_loop_unblocked")


async def test_a_starved_thread_is_not_called_blocked(monkeypatch):
    # The run queue's clock is made to say that the thread had no CPU all the time.
    class NoCpu(busy_clock.RunQueueWait):
        def seconds(self):
            return time.monotonic()

    monkeypatch.setattr(stall_evidence, "RunQueueWait", NoCpu)
    with capture_logs() as logs:
        async with Watched() as watched:
            time.sleep(0.2)  # noqa: ASYNC251 - looks still
            await asyncio.sleep(0.05)
            assert watched.count() is None
    assert logs == []


async def test_the_description_of_the_running_request_joins_the_record_and_the_count():
    def describe(frame, task):
        assert frame.f_code.co_name == "handler"
        return {"route": "/reports/{id}", "request_id": "r-1"}

    async def handler():
        time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the block

    with capture_logs() as logs:
        async with Watched(describe_request=describe) as watched:
            await asyncio.create_task(handler())
            [record] = await records_of(logs, 1)
            assert watched.count("/reports/{id}") == 1
    assert (record["route"], record["request_id"]) == ("/reports/{id}", "r-1")


async def test_zero_switches_it_off():
    threads = threading.active_count()
    async with Watched(stall_seconds=0):
        assert threading.active_count() == threads


def test_other_threads_that_use_the_cpu_are_told_from_a_blocking_call():
    before = CpuReading(at=10, thread_cpu=1, process_cpu=5, run_queue_wait=0)
    after = CpuReading(at=10.1, thread_cpu=1.01, process_cpu=5.1, run_queue_wait=0)
    assert after.cause_since(before) == "other_threads"


async def test_a_report_that_fails_does_not_end_the_watch():
    calls = []

    def describe(frame, task):
        calls.append(task)
        if len(calls) == 1:
            raise LookupError
        return {}

    with capture_logs() as logs:
        async with Watched(describe_request=describe):
            time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the first block
            await records_of(logs, 1, "watchdog_report_failed")
            time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the second
            await records_of(logs, 1)


@pytest.fixture
def as_delivered(monkeypatch):
    """Structlog as it is without a setup; afterwards as it was."""
    before = structlog.get_config()
    structlog.reset_defaults()
    monkeypatch.setattr(watchdog, "log", structlog.get_logger())  # the other may be set up for good
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("as_delivered")
async def test_the_record_can_be_written_by_the_console_renderer(capsys):
    async with Watched() as watched:
        time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the block
        async with asyncio.timeout(patience(2)):
            while watched.count() is None:  # noqa: ASYNC110 - a thread gives no event
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
    assert "event_loop_blocked" in capsys.readouterr().out
