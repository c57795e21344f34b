"""What calls to upstreams took, and how they ended."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class UpstreamMetrics:
    """The metrics of all upstreams of a worker, labelled by their names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "upstream_request_duration_seconds",
            "Time of a call to an upstream, waiting and retrying included, by how it ended.",
            ["upstream", "result"],
            buckets=SECONDS,
            registry=registry,
        )
        self.wait = Histogram(
            "upstream_pool_wait_seconds",
            "Time that calls waited for a connection to become free.",
            ["upstream"],
            buckets=SECONDS,
            registry=registry,
        )
        self.retries = Counter(
            "upstream_retries_total",
            "Calls that were made a second time.",
            ["upstream"],
            registry=registry,
        )
        self.breaker = Gauge(
            "upstream_breaker_state",
            "State of an upstream's breaker: 0 closed, 1 half open, 2 open.",
            ["upstream"],
            registry=registry,
        )
