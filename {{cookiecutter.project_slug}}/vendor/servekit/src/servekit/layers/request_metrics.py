"""Durations of requests, counted in plain lists and shown to Prometheus at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# The advised buckets of OpenTelemetry's HTTP conventions, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
BOUND_LABELS = [*map(str, BOUNDS), "+Inf"]
SERVER_ERROR = 500
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Series:
    """The histogram of one method, route and status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * len(BOUND_LABELS)
        self.seconds = 0.0


class RequestMetrics(Collector):
    """Count requests on the event loop; `active` and `total` are plain numbers for others to read.

    Own counting costs a fifth of prometheus-client's, whose every number has a lock.
    """

    def __init__(self) -> None:
        self.active = 0
        self.total = 0
        self.refused: Counter[tuple[int, str]] = Counter()
        self.series: dict[tuple[str, str, int], Series] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; an unknown method counts as `_OTHER`."""
        self.total += 1
        key = (method, route, status)
        series = self.series.get(key)
        if series is None:
            key = (method if method in METHODS else "_OTHER", route, status)
            series = self.series.setdefault(key, Series())
        series.buckets[bisect_left(BOUNDS, seconds)] += 1
        series.seconds += seconds

    def count_refusal(self, status: int, reason: str) -> None:
        """Count a request that its connection refused: no layer has seen it."""
        self.refused[status, reason] += 1

    def by_duration(self) -> dict[str, int]:
        """Return how many requests there were, by the upper bound of their time."""
        columns = zip(*(series.buckets for series in list(self.series.values())), strict=True)
        counts = [sum(column) for column in columns] or [0] * len(BOUND_LABELS)
        return dict(zip(BOUND_LABELS, counts, strict=True))

    def failed(self) -> int:
        """Return how many requests ended with a server's error."""
        return sum(
            sum(series.buckets)
            for (_, _, status), series in list(self.series.items())
            if status >= SERVER_ERROR
        )

    def collect(self) -> Iterator[Metric]:
        durations = HistogramMetricFamily(
            "http_server_request_duration_seconds",
            "Time from the request's head to the end of its answer.",
            labels=("method", "route", "status"),
        )
        for (method, route, status), series in list(self.series.items()):
            counts = zip(BOUND_LABELS, accumulate(series.buckets), strict=True)
            durations.add_metric((method, route, str(status)), list(counts), series.seconds)
        yield durations
        yield GaugeMetricFamily(
            "http_server_active_requests", "Requests in progress.", value=self.active
        )
        refused = CounterMetricFamily(
            "http_server_refused_requests",
            "Requests that could not be read or came too slowly, refused before any layer.",
            labels=("status", "reason"),
        )
        for (status, reason), count in sorted(self.refused.items()):
            refused.add_metric((str(status), reason), count)
        yield refused
