import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from servekit.monitors.cpu_monitor import CpuMonitor, stolen_seconds
from servekit.monitors.loop_monitor import LoopMonitor

GROUPS = Path("/sys/fs/cgroup")
WORK = """
import asyncio, json, sys, time
import structlog, uvloop
from prometheus_client import CollectorRegistry
from servekit.monitors.cpu_monitor import CpuMonitor, stolen_seconds
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.watchdog import Watchdog

async def main():
    registry = CollectorRegistry()
    CpuMonitor(monitor := LoopMonitor(registry=registry), registry=registry)
    with structlog.testing.capture_logs() as logs:
        async with monitor, Watchdog(monitor, registry=registry):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                burnt = time.thread_time() + 0.005
                while time.thread_time() < burnt:
                    pass
                await asyncio.sleep(0)
    value = lambda name: registry.get_sample_value(name)
    print(json.dumps({
        "blocked": [record for record in logs if record["event"] == "event_loop_blocked"],
        "lag": value("asyncio_eventloop_stall_seconds_total"),
        "waited": value("process_cpu_wait_seconds_total"),
        "throttled": value("cgroup_cpu_throttled_seconds_total"),
    }))

uvloop.run(main())
"""


@pytest.mark.parametrize(
    ("file", "seconds"),
    [
        ("usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n", 1.5),
        ("nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000\n", 2.5),
        ("nr_periods 9\n", 0),
        ("not what it was", 0),
        (None, 0),
    ],
)
def test_the_quota_of_the_container_is_read_from_either_version_of_cgroups(tmp_path, file, seconds):
    if file is not None:
        (tmp_path / "cpu.stat").write_text(file)
    registry = CollectorRegistry()
    monitor = LoopMonitor(registry=CollectorRegistry())
    CpuMonitor(monitor, registry=registry, cgroups=[tmp_path, tmp_path / "none"])
    assert registry.get_sample_value("cgroup_cpu_throttled_seconds_total") == seconds


@contextlib.contextmanager
def a_fifth_of_a_cpu():
    """Make a cgroup with that quota; skip where we may not."""
    limits = {
        GROUPS / "cpu": {"cpu.cfs_quota_us": "20000"},
        GROUPS: {"cpu.max": "20000 100000"},
    }
    root = next(root for root in limits if root.exists())
    folder = root / f"service-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("needs to be root, and a cgroup that it may write to")
    try:
        for name, value in limits[root].items():
            if not (folder / name).exists():
                pytest.skip("the cpu controller is not given to this cgroup")
            (folder / name).write_text(value)
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell")
async def test_the_cpu_time_of_the_loops_thread_is_told_apart_from_other_threads():
    registry = CollectorRegistry()
    CpuMonitor(monitor := LoopMonitor(registry=CollectorRegistry()), registry=registry)
    assert loop_cpu(registry) is None  # no loop yet
    async with monitor:
        before = loop_cpu(registry) or 0
        await asyncio.to_thread(burn, 0.2)
        between = loop_cpu(registry) or 0
        burn(0.2)
        assert (loop_cpu(registry) or 0) - between > 0.15
        assert between - before < 0.15


def loop_cpu(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("asyncio_eventloop_cpu_seconds_total")


def burn(seconds: float) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


def test_a_loop_that_its_quota_holds_back_is_late_and_not_called_blocked():
    with a_fifth_of_a_cpu() as folder:
        enter = f'echo $$ > {folder}/cgroup.procs; exec "$@"'
        command = ["sh", "-c", enter, "sh", sys.executable, "-c", WORK]
        printed = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True)
    seen = json.loads(printed.stdout)
    assert seen["lag"] > 0.05
    assert seen["waited"] > 0.5
    assert seen["throttled"] > 0.5
    assert seen["blocked"] == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (
            "cpu  9 0 9 9 9 0 0 600 0 0\ncpu0 1 0 1 1 1 0 0 200 0 0\ncpu1 1 0 1 1 1 0 0 400 0 0\n",
            300,
        ),
        ("cpu  9 0 9 9\ncpu0 9 0 9 9\n", 0),
        ("cpu  9 0 9 9 9 0 0 600 0 0\n", 0),
        ("", 0),
    ],
)
def test_stolen_time_is_the_mean_of_the_cpus(tmp_path, text, seconds):
    (tmp_path / "stat").write_text(text)
    ticks = os.sysconf("SC_CLK_TCK")
    assert stolen_seconds(tmp_path / "stat") == pytest.approx(seconds / ticks)
