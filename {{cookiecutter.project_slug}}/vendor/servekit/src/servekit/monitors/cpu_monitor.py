"""CPU time of the event loop's thread, and time in which it was given none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from servekit.cpus import cgroup_folders
from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.loop_monitor import LoopMonitor

STEAL = 8
"""The field of `/proc/stat`, its name being the first."""


class CpuMonitor(Collector):
    """Read, when asked, what the kernel keeps: nothing runs meanwhile.

    A thread that its cgroup's quota holds back waits for a CPU like one whose CPU is taken; what
    the quota's part is, only the cgroup tells, for all its processes together.
    """

    def __init__(
        self,
        monitor: LoopMonitor,
        *,
        registry: CollectorRegistry,
        cgroups: Iterable[Path] | None = None,
        stat: Path = Path("/proc/stat"),
    ) -> None:
        self._monitor = monitor
        self._cgroups = list(cgroup_folders() if cgroups is None else cgroups)
        self._stat = stat
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        wait = RunQueueWait(self._monitor.native_thread_id)
        yield CounterMetricFamily(
            "process_cpu_wait_seconds",
            "Time that the event loop's thread was ready to run and had no CPU.",
            value=wait.seconds(),
        )
        yield CounterMetricFamily(
            "asyncio_eventloop_cpu_seconds",
            "CPU time of the event loop's thread.",
            value=wait.cpu_seconds() if wait.known else None,
        )
        wait.close()
        yield CounterMetricFamily(
            "cgroup_cpu_throttled_seconds",
            "Time that the CPU quota held the container back, all CPUs together.",
            value=max(map(throttled_seconds, self._cgroups), default=0.0),
        )
        yield CounterMetricFamily(
            "host_cpu_steal_seconds",
            "Time that the hypervisor gave a CPU of this machine to others, mean of its CPUs.",
            value=stolen_seconds(self._stat),
        )


def throttled_seconds(folder: Path) -> float:
    """Return what `cpu.stat` of one cgroup says, version 2 or 1; 0 where it says nothing."""
    with contextlib.suppress(OSError, ValueError):
        fields = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        if "throttled_usec" in fields:
            return int(fields["throttled_usec"]) / 1e6
        return int(fields.get("throttled_time", 0)) / 1e9
    return 0.0


def stolen_seconds(file: Path) -> float:
    """Return what the kernel says was stolen of all CPUs together, by their number."""
    with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):
        lines = [line.split() for line in file.read_text().splitlines() if line.startswith("cpu")]
        return int(lines[0][STEAL]) / os.sysconf("SC_CLK_TCK") / (len(lines) - 1)
    return 0.0
