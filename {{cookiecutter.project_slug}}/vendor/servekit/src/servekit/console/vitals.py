"""What a console shows of one worker, read when asked for: totals, from which rates are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from servekit.logs import current_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

SHED = "http_requests_shed_total"
POOLS = {
    "redis": ("redis_command_duration_seconds", "redis_pool_wait_seconds", "redis_breaker_state"),
    "upstream": (
        "upstream_request_duration_seconds",
        "upstream_pool_wait_seconds",
        "upstream_breaker_state",
    ),
    "offload": ("offload_run_seconds", "offload_queue_wait_seconds", ""),
    "database": ("database_statement_duration_seconds", "database_pool_wait_seconds", ""),
}
"""The metrics of calls, of waiting for a place among them, and of a breaker."""

FIELDS = {
    name: (kind, field)
    for kind, (calls, wait, breaker) in POOLS.items()
    for name, field in {
        f"{calls}_count": "calls",
        f"{calls}_sum": "seconds",
        f"{wait}_sum": "wait_seconds",
        breaker: "breaker",
    }.items()
    if name
}


class Requests(Protocol):
    """The counts of requests, as `RequestMetrics` has them."""

    def by_duration(self) -> dict[str, int]: ...
    def failed(self) -> int: ...


class Pressed(Protocol):
    """A worker's pressure."""

    level: float
    reason: str


class Vitals:
    """Totals since the worker's start; nothing is counted for them that is not counted anyway."""

    def __init__(
        self,
        registry: CollectorRegistry,
        requests: Requests,
        pressure: Pressed,
        caches: Callable[[], dict[str, dict[str, dict[str, int]]]],
    ) -> None:
        # Of a histogram its count and its sum: collecting all that there is takes a hundred times.
        self._chosen = registry.restricted_registry([*FIELDS, SHED])
        self._requests = requests
        self._pressure = pressure
        self._caches = caches

    def read(self) -> dict[str, Any]:
        """Return the totals; `durations` counts requests by the upper bound of their bucket."""
        shed = 0.0
        pools: dict[str, dict[str, float]] = {}
        for family in self._chosen.collect():
            for sample in family.samples:
                if sample.name == SHED:
                    shed += sample.value
                    continue
                kind, field = FIELDS[sample.name]
                name = sample.labels.get("pool") or sample.labels.get("upstream", "")
                pool = pools.setdefault(f"{kind} {name}".rstrip(), {})
                pool[field] = pool.get(field, 0.0) + sample.value
        return {
            "log_level": current_level(),
            "durations": self._requests.by_duration(),
            "errors": self._requests.failed(),
            "shed": shed,
            "pressure": round(self._pressure.level, 3),
            "pressure_reason": self._pressure.reason,
            "caches": self._caches(),
            "pools": pools,
        }
