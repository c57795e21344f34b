import gc
import subprocess
import sys

from prometheus_client import CollectorRegistry, generate_latest

from service.runtime.monitors.gc_monitor import GcMonitor


async def test_each_collection_is_timed_by_generation():
    registry = CollectorRegistry()

    def pauses(of):
        name = f"python_gc_duration_seconds_{of}"
        return registry.get_sample_value(name, {"generation": "2"}) or 0

    async with GcMonitor(registry=registry):
        before = pauses("count")
        gc.collect(2)
        gc.collect(2)
        assert pauses("count") == before + 2
        assert 0 < pauses("sum") < 5
    gc.collect(2)
    assert pauses("count") == before + 2
    assert 'python_gc_objects_collected_total{generation="2"}' in generate_latest(registry).decode()


async def test_a_scrape_does_not_walk_the_heap(monkeypatch):
    registry = CollectorRegistry()
    monkeypatch.setattr(gc, "get_freeze_count", iter([7]).__next__)
    async with GcMonitor(registry=registry):
        for _ in range(2):
            assert registry.get_sample_value("python_gc_frozen_objects") == 7


def test_what_is_loaded_is_frozen_and_a_full_collection_is_short():
    program = f"""
import sys, time, gc
sys.path[:] = {sys.path!r}
from service.runtime.monitors.gc_monitor import tune_gc
held = [[number] for number in range(200_000)]
started = time.perf_counter()
gc.collect()
untuned = time.perf_counter() - started
tune_gc()
started = time.perf_counter()
gc.collect()
assert time.perf_counter() - started < untuned / 5
assert gc.get_freeze_count() > 200_000
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
