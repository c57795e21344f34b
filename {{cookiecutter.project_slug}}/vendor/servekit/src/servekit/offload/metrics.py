"""Counters and histograms of an offload pool; the pools of one registry share the families."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

C = TypeVar("C", bound=Collector)


class OffloadMetrics:
    """The series of one pool."""

    def __init__(self, pool: str, registry: CollectorRegistry) -> None:
        def family(make: Callable[..., C], name: str, text: str, **options: object) -> C:
            # The registry has no public look-up, and a second pool would be a duplicate.
            known = registry._names_to_collectors.get(name)  # noqa: SLF001
            if known is not None:
                return known  # type: ignore[return-value]
            return make(name, text, ["pool"], registry=registry, **options)

        self.queue_size = family(
            Gauge, "offload_queue_size", "Calls that wait for a place in the pool."
        ).labels(pool)
        self.queue_wait = family(
            Histogram,
            "offload_queue_wait_seconds",
            "Time that a call waited for a place.",
            buckets=SECONDS_BUCKETS,
        ).labels(pool)
        self.run = family(
            Histogram,
            "offload_run_seconds",
            "Time that a call ran, killed and abandoned ones included.",
            buckets=SECONDS_BUCKETS,
        ).labels(pool)
        self.rejected = family(
            Counter,
            "offload_rejected_total",
            "Calls refused because pool and queue were full, or no thread could start.",
        ).labels(pool)
        self.timeouts = family(
            Counter, "offload_timeouts_total", "Calls that did not end within their time limit."
        ).labels(pool)
        self.unwanted = family(
            Counter,
            "offload_unwanted_total",
            "Calls that went on when their caller was gone, rather than cost a process.",
        ).labels(pool)
        self.restarts = family(
            Counter, "offload_worker_restarts_total", "Workers replaced, for whatever reason."
        ).labels(pool)
