import gc
import time

from prometheus_client import CollectorRegistry, generate_latest

from servekit.monitors.gc_monitor import GcMonitor


async def test_each_collection_is_timed_by_generation():
    registry = CollectorRegistry()

    def pauses(of):
        name = f"python_gc_duration_seconds_{of}"
        return registry.get_sample_value(name, {"generation": "2"}) or 0

    began = time.perf_counter()
    async with GcMonitor(registry=registry):
        before = pauses("count")
        gc.collect(2)
        gc.collect(2)
        assert pauses("count") == before + 2
        assert 0 < pauses("sum") < time.perf_counter() - began
    gc.collect(2)
    assert pauses("count") == before + 2
    assert 'python_gc_objects_collected_total{generation="2"}' in generate_latest(registry).decode()


async def test_a_scrape_does_not_walk_the_heap(monkeypatch):
    registry = CollectorRegistry()
    monkeypatch.setattr(gc, "get_freeze_count", iter([7]).__next__)
    async with GcMonitor(registry=registry):
        for _ in range(2):
            assert registry.get_sample_value("python_gc_frozen_objects") == 7
