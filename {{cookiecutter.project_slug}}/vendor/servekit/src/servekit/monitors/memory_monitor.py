"""Memory, threads and descriptors of this process: metrics, and a record a minute in the log."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from servekit.background import Background
from servekit.event_log import get_logger
from servekit.own_threads import in_own_thread
from servekit.process_memory import pss_bytes, rss_bytes

PSS_SECONDS = 10.0

log = get_logger()


class MemoryMonitor(Collector):
    """Log `process_memory` each `log_seconds` (0: never): what a killed process leaves behind."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        log_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log_seconds = log_seconds
        self._clock = clock
        self._pss = (0, -PSS_SECONDS)
        self._background = Background()
        registry.register(self)
        ProcessCollector(registry=registry)

    async def __aenter__(self) -> Self:
        if self._log_seconds > 0:
            self._background.keep(self._log_for_ever)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._background.cancel()

    async def _log_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._log_seconds)
            await in_own_thread(self.log_memory)  # /proc may take milliseconds

    def log_memory(self) -> None:
        """Write what the process holds at this moment."""
        log.info(
            "process_memory",
            rss_bytes=rss_bytes(os.getpid()),
            pss_bytes=self._pss_bytes(),
            allocated_blocks=sys.getallocatedblocks(),
            threads=entries("/proc/self/task"),
            open_fds=entries("/proc/self/fd"),
        )

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
