"""What Prometheus sees of sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class SessionMetrics:
    """Counters of a worker's sessions; none carries an id or a user."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        channel_up: Callable[[], bool],
        local_bytes: Callable[[], int],
    ) -> None:
        self.created = Counter(
            "session_created_total",
            "Sessions created, for a logged-in user or an anonymous visitor.",
            ["kind"],
            registry=registry,
        )
        self.revoked = Counter(
            "session_revoked_total",
            "Sessions ended before their lifetime was over.",
            ["reason"],
            registry=registry,
        )
        self.loads = Counter(
            "session_loads_total",
            "Sessions looked up in Redis, by result.",
            ["result"],
            registry=registry,
        )
        self.local_hits = 0
        """A plain number: an increment of a Prometheus counter costs ten times as much."""
        self.dropped_writes = Counter(
            "session_dropped_writes_total",
            "Writes that came after the session's logout, a login to it, or its end.",
            registry=registry,
        )
        registry.register(_LocalMetrics(self, channel_up=channel_up, local_bytes=local_bytes))
        self.rejected_cookies = Counter(
            "session_rejected_cookies_total",
            "Session cookies refused before any look-up: forged, damaged or ambiguous.",
            registry=registry,
        )


class _LocalMetrics(Collector):
    """What a worker's own copies of sessions did."""

    def __init__(
        self,
        metrics: SessionMetrics,
        *,
        channel_up: Callable[[], bool],
        local_bytes: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._channel_up = channel_up
        self._local_bytes = local_bytes

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "session_local_hits_total",
            "Sessions read from the worker's own copies.",
            self._metrics.local_hits,
        )
        yield GaugeMetricFamily(
            "session_invalidation_channel_up",
            "1 while writes of other processes are heard of; else every read goes to Redis.",
            float(self._channel_up()),
        )
        yield GaugeMetricFamily(
            "session_local_size_bytes", "Estimated size of the own copies.", self._local_bytes()
        )
