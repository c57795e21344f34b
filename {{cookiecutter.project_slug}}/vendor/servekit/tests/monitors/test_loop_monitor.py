import asyncio
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.testing import patience


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


async def test_a_stall_shows_in_lag_and_stall_seconds_and_two_scrapes_see_the_same():
    registry = CollectorRegistry()
    async with LoopMonitor(registry=registry):
        await asyncio.sleep(0.1)
        started = time.monotonic()
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        stall = time.monotonic() - started
        await asyncio.sleep(0.02)
        for _ in range(2):
            generate_latest(registry)
            assert value(registry, "asyncio_eventloop_lag_seconds_sum") > stall
            samples = value(registry, "asyncio_eventloop_lag_seconds_count")
            below = value(registry, "asyncio_eventloop_lag_seconds_bucket", le="0.25")
            assert samples - below >= 3
        assert value(registry, "asyncio_eventloop_stall_seconds_total") >= 0.28
        in_time = value(registry, "asyncio_eventloop_lag_seconds_bucket", le="0.05")
        assert value(registry, "asyncio_eventloop_lag_seconds_count") - in_time > 20


async def test_utilisation_follows_a_busy_loop_within_a_second_and_falls_again():
    registry = CollectorRegistry()
    async with LoopMonitor(registry=registry, utilization_seconds=0.3) as monitor:
        await asyncio.sleep(0.3)
        assert monitor.utilization < 0.5
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            time.sleep(0.004)  # noqa: ASYNC251 - blocks without using the CPU
            await asyncio.sleep(0)
            burned = time.thread_time() + 0.02
            while time.thread_time() < burned:
                pass
            await asyncio.sleep(0)
        assert monitor.utilization > 0.7
        labels = {"source": "thread_cpu_and_lag"}
        assert value(registry, "asyncio_eventloop_utilization_ratio", **labels) > 0.7
        await asyncio.sleep(0.4)
        assert monitor.utilization < 0.5


def test_utilisation_is_exact_on_the_standard_loop_which_is_left_as_it_was():
    registry = CollectorRegistry()

    async def blocks_without_using_the_cpu():
        loop: Any = asyncio.get_running_loop()
        before = loop._selector.select
        async with LoopMonitor(registry=registry, utilization_seconds=0.3) as monitor:
            await asyncio.sleep(0.2)
            assert monitor.utilization < 0.3
            for _ in range(100):
                time.sleep(0.005)  # noqa: ASYNC251 - too short to be seen as lag
                await asyncio.sleep(0)
            assert monitor.utilization > 0.9
            labels = {"source": "selector"}
            assert value(registry, "asyncio_eventloop_utilization_ratio", **labels) > 0.9
        assert loop._selector.select == before

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(blocks_without_using_the_cpu())


async def test_smoothed_lag_passes_over_a_single_stall_but_not_over_a_lasting_one():
    async with LoopMonitor(registry=CollectorRegistry()) as monitor:
        began = time.monotonic()
        time.sleep(0.1)  # noqa: ASYNC251 - one stall
        while not monitor.last_late_tick:  # noqa: ASYNC110 - ends at the very tick
            await asyncio.sleep(0)
        assert 0 < monitor.lag_seconds < 0.3 * (time.monotonic() - began)
        for _ in range(8):
            time.sleep(0.1)  # noqa: ASYNC251 - many
            await asyncio.sleep(0.002)
        assert monitor.lag_seconds > 0.04


async def test_tasks_are_counted_by_what_they_run():
    async def cook():
        await asyncio.sleep(0.05)

    registry = CollectorRegistry()
    name = "test_tasks_are_counted_by_what_they_run"
    async with LoopMonitor(registry=registry), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(cook())
        assert value(registry, "asyncio_tasks", coroutine=f"{name}.<locals>.cook") == 3
        assert value(registry, "asyncio_tasks", coroutine=name) == 1


def test_it_registers_before_a_loop_runs_and_exports_every_name():
    registry = CollectorRegistry()
    LoopMonitor(registry=registry)
    text = generate_latest(registry).decode()
    assert "# TYPE asyncio_eventloop_lag_seconds histogram" in text
    assert "# TYPE asyncio_eventloop_stall_seconds_total counter" in text


def test_an_unknown_thread_has_waited_for_no_cpu():
    assert RunQueueWait(0).seconds() == 0


async def dozing(monitor):
    rest = monitor.interval_seconds * 5
    async with asyncio.timeout(patience(2)):
        while monitor.tick_seconds != pytest.approx(rest):
            monitor.doze()  # again, where the machine was late and so ended it
            await asyncio.sleep(0.001)


async def test_a_dozing_monitor_ticks_seldom_and_its_figures_miss_none():
    registry = CollectorRegistry()
    async with LoopMonitor(registry=registry) as monitor:
        await dozing(monitor)
        samples = value(registry, "asyncio_eventloop_lag_seconds_count")
        began, beats = time.monotonic(), set()
        while time.monotonic() < began + 0.5:
            beats.add(monitor.last_tick)
            monitor.doze()
            await asyncio.sleep(0.002)
        due = (time.monotonic() - began) / monitor.interval_seconds
        assert len(beats) < due / 2
        counted = value(registry, "asyncio_eventloop_lag_seconds_count") - samples
        assert counted == pytest.approx(due, abs=20)  # a period and a tick are not counted yet


async def test_a_dozing_monitor_that_is_woken_proves_the_loop_alive_and_ticks_on():
    async with LoopMonitor(registry=CollectorRegistry()) as monitor:
        await dozing(monitor)
        woken = time.monotonic()
        monitor.wake()
        assert monitor.last_tick >= woken
        assert monitor.tick_seconds == monitor.interval_seconds
        monitor.doze()
        assert not monitor.dozing


async def test_a_stall_ends_the_doze_and_is_counted():
    registry = CollectorRegistry()
    async with LoopMonitor(registry=registry) as monitor:
        await dozing(monitor)
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        async with asyncio.timeout(patience(2)):
            while monitor.dozing:  # noqa: ASYNC110 - ends at the very tick
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        stalled = value(registry, "asyncio_eventloop_stall_seconds_total")
        assert stalled == pytest.approx(0.28, abs=0.06)
