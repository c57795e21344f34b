"""What the counters of each worker did, second by second: read from scrapes, kept as deltas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping

Totals = dict[str, dict[str, float]]
"""By metric, then by the value of the label that `KEPT` names, "" where it names none."""

STARTED = "process_start_time_seconds"
LOOP_CPU = "asyncio_eventloop_cpu_seconds_total"
STALLED = "asyncio_eventloop_stall_seconds_total"
REQUEST = "http_server_request_duration_seconds"
STATEMENT = "database_statement_duration_seconds"
TASKS = "asyncio_tasks"
BREAKERS = {"redis": "redis_breaker_state", "upstream": "upstream_breaker_state"}
"""Closed at 0, by whom they stand before."""

KEPT = {
    STARTED: "",
    STALLED: "",
    LOOP_CPU: "",
    "asyncio_eventloop_busy_seconds_total": "",
    "asyncio_eventloop_blocked_total": "route",
    "asyncio_eventloop_lag_seconds_sum": "",
    "asyncio_eventloop_lag_seconds_count": "",
    "process_cpu_seconds_total": "",
    "process_cpu_wait_seconds_total": "",
    "cgroup_cpu_throttled_seconds_total": "",
    "process_stopped_seconds_total": "",
    "host_cpu_steal_seconds_total": "",
    "python_gc_duration_seconds_sum": "",
    "python_gc_collections_total": "generation",
    f"{REQUEST}_bucket": "le",
    f"{REQUEST}_count": "status",
    f"{REQUEST}_sum": "route",
    "http_requests_shed_total": "reason",
    "redis_command_duration_seconds_sum": "pool",
    "redis_command_duration_seconds_count": "pool",
    "redis_pool_wait_seconds_sum": "pool",
    "redis_pool_wait_seconds_count": "pool",
    f"{STATEMENT}_sum": "",
    f"{STATEMENT}_count": "",
    "database_pool_wait_seconds_sum": "",
    "database_pool_wait_seconds_count": "",
    "upstream_request_duration_seconds_sum": "upstream",
    "upstream_request_duration_seconds_count": "upstream",
    "upstream_pool_wait_seconds_sum": "upstream",
    "upstream_pool_wait_seconds_count": "upstream",
    "offload_queue_wait_seconds_sum": "pool",
    "offload_queue_wait_seconds_count": "pool",
    "offload_rejected_total": "pool",
    "cache_hits_total": "tier",
    "cache_stale_hits_total": "tier",
    "cache_misses_total": "tier",
}
"""The counters that are judged, and the label by which they stay apart; other labels add up."""

LEVELS = {
    TASKS: "coroutine",
    BREAKERS["redis"]: "pool",
    BREAKERS["upstream"]: "upstream",
    "http_server_active_requests": "",
    "worker_connections": "",
    "process_open_fds": "",
    "process_resident_memory_bytes": "",
    "cache_local_size_bytes": "",
    "session_local_size_bytes": "",
}
"""The same for gauges, whose values are judged."""
READ = KEPT | LEVELS
SUPERVISORS = {"worker_connections"}
"""Whose values the supervisor knows of every worker."""

SLOW_BUCKET = "0.25"
SLOW_SECONDS = 0.25
STALLED_SHARE = 0.1
FAILED_SHARE = 0.01


@dataclass(frozen=True)
class Window:
    """What a worker's counters grew by in about a second; `at` is its end since the beginning.

    A metric that the worker has is in `deltas` even if it did not grow. `levels` are the gauges at
    the end.
    """

    worker: str
    at: float
    seconds: float
    deltas: Mapping[str, Mapping[str, float]]
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def total(self, name: str) -> float:
        """Return how much a counter grew, all labels together."""
        return sum(self.deltas.get(name, {}).values())

    def of(self, name: str, label: str) -> float:
        """Return how much a counter grew for one value of its label."""
        return self.deltas.get(name, {}).get(label, 0.0)

    def level(self, name: str) -> float:
        """Return what a gauge showed at the end, all labels together."""
        return sum(self.levels.get(name, {}).values())

    @property
    def others_cpu(self) -> float:
        """Return the CPU seconds of all threads but the loop's."""
        return max(0.0, self.total("process_cpu_seconds_total") - self.total(LOOP_CPU))

    @property
    def deprived(self) -> float:
        """Return the seconds that the loop's thread was ready to run and had no CPU."""
        return self.total("process_cpu_wait_seconds_total")

    @property
    def requests(self) -> float:
        """Return how many requests were answered, refused ones aside."""
        return self.total(f"{REQUEST}_count")

    @property
    def slow(self) -> float:
        """Return how many of them took longer than `SLOW_SECONDS`."""
        return max(0.0, self.requests - self.of(f"{REQUEST}_bucket", SLOW_BUCKET))

    @property
    def failed(self) -> float:
        """Return how many requests ended with a server error, refused ones aside."""
        return self._ended_with("5")

    @property
    def refused(self) -> float:
        """Return how many ended with the client's error."""
        return self._ended_with("4")

    def _ended_with(self, first: str) -> float:
        counts = self.deltas.get(f"{REQUEST}_count", {})
        return sum(count for status, count in counts.items() if status.startswith(first))

    @property
    def shed(self) -> float:
        """Return how many requests the overload check refused."""
        return self.total("http_requests_shed_total")

    def misses(self, neighbour: str) -> bool:
        """Return whether a breaker before `redis` or an `upstream` was not closed at the end.

        That of an upstream that nobody calls stays open, and says nothing of the others.
        """
        states = self.levels.get(BREAKERS.get(neighbour, ""), {})
        called = self.deltas.get("upstream_request_duration_seconds_count", {})
        return any(
            state > 0 and (neighbour != "upstream" or name in called)
            for name, state in states.items()
        )

    @property
    def stalled(self) -> float:
        """Return the seconds that the loop was late by, in delays of 0.05 s and more."""
        return min(self.seconds, self.total(STALLED))

    @property
    def busy(self) -> float:
        """Return the seconds that the loop was busy."""
        return min(self.seconds, self.total("asyncio_eventloop_busy_seconds_total"))

    @property
    def lag(self) -> float:
        """Return the mean lag in seconds."""
        count = self.total("asyncio_eventloop_lag_seconds_count")
        return self.total("asyncio_eventloop_lag_seconds_sum") / count if count else 0.0

    @property
    def is_stalled(self) -> bool:
        """Whether clients felt the loop's stalls."""
        return self.stalled >= STALLED_SHARE * self.seconds

    @property
    def is_troubled(self) -> bool:
        """Whether clients felt anything: slow answers, errors, refusals."""
        felt = max(self.slow, self.failed)
        return self.shed > 0 or (felt > 0 and felt >= FAILED_SHARE * self.requests)


def read_scrape(text: str) -> dict[str, Totals]:
    """Return what is judged of a scrape, by worker."""
    workers: dict[str, Totals] = {}
    # A value of a label may hold what other splitters take for a line's end.
    lines = (line for line in text.split("\n") if line.partition("{")[0].partition(" ")[0] in READ)
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            totals = workers.setdefault(sample.labels.get("worker", ""), {})
            series = totals.setdefault(sample.name, {})
            label = sample.labels.get(READ[sample.name], "")
            series[label] = series.get(label, 0.0) + sample.value
    # The supervisor tells of workers too that did not answer in time.
    return {worker: totals for worker, totals in workers.items() if totals.keys() - SUPERVISORS}


def window_between(
    worker: str, before: Totals, after: Totals, *, at: float, seconds: float
) -> Window | None:
    """Return what happened between two scrapes of a worker; None if it was replaced meanwhile."""
    if before.get(STARTED) != after.get(STARTED):
        return None
    deltas: dict[str, dict[str, float]] = {}
    for name in sorted(after.keys() & KEPT.keys()):
        series, earlier = after[name], before.get(name, {})
        grown = {label: value - earlier.get(label, 0.0) for label, value in series.items()}
        if min(grown.values(), default=0) < 0:
            return None
        deltas[name] = {label: value for label, value in grown.items() if value}
    levels = {name: after[name] for name in sorted(after.keys() & LEVELS.keys())}
    return Window(worker, at, seconds, deltas, levels)
