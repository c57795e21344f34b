"""Pauses of Python's garbage collector."""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, GCCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

PAUSE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
GENERATIONS = range(3)


class GcMonitor(Collector):
    """Time every collection while it is entered; costs about a microsecond a collection."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._counts = [[0] * (len(PAUSE_BUCKETS) + 1) for _ in GENERATIONS]
        self._seconds = [0.0 for _ in GENERATIONS]
        self._started = 0.0
        self._frozen = 0
        registry.register(self)
        GCCollector(registry=registry)

    async def __aenter__(self) -> Self:
        # Once, not at each scrape: it walks all of them, 13 ms in which no request is served.
        self._frozen = gc.get_freeze_count()
        # The first, as a thread that waits for a long collection goes on when the first one begins.
        gc.callbacks.insert(0, self.time_collection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gc.callbacks.remove(self.time_collection)

    def time_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Take the time; the collector calls it before and after."""
        if phase == "start":
            self._started = time.perf_counter()
            return
        pause = time.perf_counter() - self._started
        generation = info["generation"]
        self._counts[generation][bisect_left(PAUSE_BUCKETS, pause)] += 1
        self._seconds[generation] += pause

    def collect(self) -> Iterator[Metric]:
        pauses = HistogramMetricFamily(
            "python_gc_duration_seconds",
            "Pauses of the garbage collector: nothing else runs meanwhile.",
            labels=["generation"],
        )
        for generation in GENERATIONS:
            bounds = (*map(str, PAUSE_BUCKETS), "+Inf")
            buckets = [*zip(bounds, accumulate(self._counts[generation]), strict=True)]
            pauses.add_metric([str(generation)], buckets, self._seconds[generation])
        yield pauses
        yield GaugeMetricFamily(
            "python_gc_frozen_objects",
            "Objects that the collector did not look at when the worker started.",
            value=self._frozen,
        )
