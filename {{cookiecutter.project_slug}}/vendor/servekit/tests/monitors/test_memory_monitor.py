import asyncio
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from servekit import background
from servekit.monitors.memory_monitor import MemoryMonitor
from servekit.testing import patience

MIB = 2**20


async def test_what_the_process_holds_is_logged_time_after_time():
    with capture_logs() as logs:
        async with MemoryMonitor(registry=CollectorRegistry(), log_seconds=0.01):
            async with asyncio.timeout(patience(5)):
                while len(logs) < 2:  # noqa: ASYNC110 - written in a thread, which gives no event
                    await asyncio.sleep(0.01)
    assert {record["event"] for record in logs} == {"process_memory"}
    assert set(logs[0]) >= {"rss_bytes", "pss_bytes", "allocated_blocks", "threads", "open_fds"}


async def test_zero_seconds_log_nothing():
    with capture_logs() as logs:
        async with MemoryMonitor(registry=CollectorRegistry(), log_seconds=0):
            await asyncio.sleep(0.05)
    assert logs == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
async def test_it_samples_while_entered_and_exports_memory_threads_and_descriptors():
    registry = CollectorRegistry()
    async with MemoryMonitor(registry=registry):
        await asyncio.sleep(0.01)
        rss = registry.get_sample_value("process_resident_memory_bytes")
        pss = registry.get_sample_value("process_proportional_memory_bytes")
        assert rss is not None
        assert pss is not None
        assert rss > pss > 10 * MIB
        for name in ("process_threads", "process_open_fds", "process_start_time_seconds"):
            assert registry.get_sample_value(name)
    assert "process_cpu_seconds_total" in generate_latest(registry).decode()


async def test_proportional_memory_is_read_at_most_every_10_seconds(monkeypatch):
    now = 100.0
    reads = []
    registry = CollectorRegistry()
    MemoryMonitor(registry=registry, clock=lambda: now)

    def read(pid):
        reads.append(pid)
        return 1

    monkeypatch.setattr("servekit.monitors.memory_monitor.pss_bytes", read)
    for _ in range(5):
        generate_latest(registry)
    assert len(reads) <= 1
    now += 11
    generate_latest(registry)
    assert len(reads) <= 2
    assert reads


async def test_a_record_that_fails_is_not_the_last(monkeypatch):
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    monitor = MemoryMonitor(registry=CollectorRegistry(), log_seconds=0.01)
    tries = []

    def fail() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(monitor, "log_memory", fail)
    with capture_logs() as logs:
        async with monitor, asyncio.timeout(patience(5)):
            while len(tries) < 3:  # noqa: ASYNC110 - called in a thread, which gives no event
                await asyncio.sleep(0.01)
    assert [record["event"] for record in logs] == ["background_task_failed"] * 2
