"""Whom a second's trouble belongs to: each budget of seconds is shared out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servekit.diagnosis.readings import LOOP_CPU, REQUEST, STATEMENT

if TYPE_CHECKING:
    from servekit.diagnosis.readings import Window

UNCLEAR = "unclear"
"""Other threads computed while the loop waited: for the interpreter, or for a call."""
OTHERS_SHARE = 0.5
ROUTES = "routes"
"""The offload pool that the threads of `def` routes are."""


def stall_shares(window: Window, *, held: bool | None = None) -> dict[str, float]:
    """Return the stalled seconds by cause; what no cause claims is left out.

    The host comes first, then the collector, then code: whatever a worker did while it was given
    no CPU is not its code's fault. A loop's thread that is busy and neither computes nor waits for
    a CPU is in a call that waits, or wants the interpreter: `held` tells whether threads that
    compute in this worker hold it, as far as that is known.
    """
    cpu, wait = window.total(LOOP_CPU), window.deprived
    stopped = window.total("process_stopped_seconds_total")
    throttled = min(window.total("cgroup_cpu_throttled_seconds_total"), wait)
    collecting = window.total("python_gc_duration_seconds_sum")
    off_cpu = max(0.0, window.busy - cpu - wait)
    claims = {
        "stopped": stopped,
        "steal": min(off_cpu, window.total("host_cpu_steal_seconds_total")),
        "cpu_quota": throttled,
        "cpu_starvation": wait - throttled,
        "gc": collecting,
    }
    computing = max(0.0, cpu - collecting)
    # A loop that waits for the interpreter after it has polled looks idle, so what is left counts.
    left = window.stalled - sum(claims.values()) - computing
    off_cpu = max(0.0, off_cpu - claims["steal"])
    if window.others_cpu <= OTHERS_SHARE * max(off_cpu, left) or held is False:
        claims["blocking_call"] = off_cpu
    else:
        claims["gil_contention" if held else UNCLEAR] = max(off_cpu, left)
    claims["cpu_on_loop"] = computing
    if LOOP_CPU not in window.deltas:  # not Linux: who ran is not known
        claims = {"gc": collecting}
    return share_out(window.stalled, claims)


def wait_shares(window: Window) -> dict[str, float]:
    """Return the seconds of requests by what they waited for; what nothing claims is left out."""
    return share_out(window.total(f"{REQUEST}_sum"), waits(window))


def waits(window: Window) -> dict[str, float]:
    """Return the seconds that calls waited, by cause: more than requests took if many at once."""
    redis_pool = window.total("redis_pool_wait_seconds_sum")
    upstream_pool = window.total("upstream_pool_wait_seconds_sum")
    routes = window.of("offload_queue_wait_seconds_sum", ROUTES)
    # An answer that has come waits for the loop as long as everything else.
    lag = window.lag
    redis_late = lag * window.total("redis_command_duration_seconds_count")
    late = lag * window.total(f"{STATEMENT}_count")
    return {
        "redis_pool": redis_pool,
        "database_pool": window.total("database_pool_wait_seconds_sum"),
        "upstream_pool": upstream_pool,
        "offload_full": window.total("offload_queue_wait_seconds_sum") - routes,
        "threads_starved": routes,
        "redis_slow": window.total("redis_command_duration_seconds_sum") - redis_pool - redis_late,
        "database_slow": window.total(f"{STATEMENT}_sum") - late,
        "upstream_slow": window.total("upstream_request_duration_seconds_sum") - upstream_pool,
    }


def share_out(budget: float, claims: dict[str, float]) -> dict[str, float]:
    """Give each claim what is left of the budget, at most as much as it claims."""
    shares = {}
    for cause, claim in claims.items():
        shares[cause] = min(max(0.0, claim), budget)
        budget -= shares[cause]
    return shares
