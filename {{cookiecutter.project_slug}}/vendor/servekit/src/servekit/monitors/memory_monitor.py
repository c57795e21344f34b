"""Memory, threads and descriptors of this process: metrics, a record a minute, a leak warning."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from servekit.monitors.leak_trend import LeakTrend
from servekit.process_memory import pss_bytes, rss_bytes

SAMPLE_SECONDS = 10.0
PSS_SECONDS = 10.0
WARNING_SECONDS = 3600.0

log = structlog.get_logger()


class MemoryMonitor(Collector):
    """Sample resident memory each 10 s, log `process_memory` each `log_seconds` (0: never).

    A floor of memory that rises by 1 MiB an hour or more is reported as `memory_leak_suspected`
    after half an hour, and once an hour from then on.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        log_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        read_rss_bytes: Callable[[], int] = lambda: rss_bytes(os.getpid()),
    ) -> None:
        self.trend = LeakTrend()
        self._log_seconds = log_seconds
        self._clock = clock
        self._read_rss_bytes = read_rss_bytes
        self._logged = clock()
        self._warned = -WARNING_SECONDS
        self._pss = (0, -PSS_SECONDS)
        self._task: asyncio.Task[None] | None = None
        registry.register(self)
        ProcessCollector(registry=registry)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample_for_ever(), name="memory-monitor")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _sample_for_ever(self) -> None:
        while True:
            await asyncio.to_thread(self.sample)  # /proc may take milliseconds
            await asyncio.sleep(SAMPLE_SECONDS)

    def sample(self) -> None:
        """Take in the memory of this moment; log what is due."""
        now = self._clock()
        rss = self._read_rss_bytes()
        self.trend.add(now, rss)
        if 0 < self._log_seconds <= now - self._logged:
            self._logged = now
            log.info(
                "process_memory",
                rss_bytes=rss,
                pss_bytes=self._pss_bytes(),
                growth_bytes_per_hour=round(self.trend.bytes_per_hour),
                allocated_blocks=sys.getallocatedblocks(),
                threads=entries("/proc/self/task"),
                open_fds=entries("/proc/self/fd"),
            )
        if self.trend.leaking and now - self._warned >= WARNING_SECONDS:
            self._warned = now
            growth = round(self.trend.bytes_per_hour)
            log.warning("memory_leak_suspected", growth_bytes_per_hour=growth, rss_bytes=rss)

    def _pss_bytes(self) -> int:
        # The kernel walks every mapping for it: milliseconds, however often it is asked for.
        value, read = self._pss
        if self._clock() - read >= PSS_SECONDS:
            value = pss_bytes(os.getpid())
            self._pss = (value, self._clock())
        return value

    def collect(self) -> Iterator[Metric]:
        values = {
            "process_proportional_memory_bytes": (
                "Memory with shared pages divided among their users (PSS).",
                self._pss_bytes(),
            ),
            "process_memory_growth_bytes_per_hour": (
                "Trend of the floor of resident memory.",
                self.trend.bytes_per_hour,
            ),
            "process_threads": (
                "Threads, those of libraries included.",
                entries("/proc/self/task"),
            ),
            "python_allocated_blocks": ("Blocks in use by objects.", sys.getallocatedblocks()),
        }
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(name, text, value=value)


def entries(folder: str) -> int:
    """Return how many names a folder of /proc has; 0 where there is none."""
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return 0
