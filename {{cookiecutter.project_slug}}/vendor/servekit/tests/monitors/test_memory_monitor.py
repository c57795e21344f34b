import asyncio
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from servekit.monitors.memory_monitor import MemoryMonitor

MIB = 2**20


def test_a_record_a_minute_and_a_leak_warning_an_hour():
    now = 0.0
    monitor = MemoryMonitor(
        registry=CollectorRegistry(),
        clock=lambda: now,
        read_rss_bytes=lambda: int(80 * MIB + 2 * MIB * now / 3600),
    )
    with capture_logs() as logs:
        while now < 2 * 3600:
            monitor.sample()
            now += 10
    records = [record for record in logs if record["event"] == "process_memory"]
    warnings = [record for record in logs if record["event"] == "memory_leak_suspected"]
    assert len(records) == 119
    assert records[-1]["growth_bytes_per_hour"] == pytest.approx(2 * MIB, rel=0.05)
    assert len(warnings) == 2
    assert warnings[0]["log_level"] == "warning"


def test_zero_seconds_log_nothing():
    now = 0.0
    registry = CollectorRegistry()
    monitor = MemoryMonitor(registry=registry, log_seconds=0, clock=lambda: now)
    with capture_logs() as logs:
        for _ in range(100):
            now += 10
            monitor.sample()
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
