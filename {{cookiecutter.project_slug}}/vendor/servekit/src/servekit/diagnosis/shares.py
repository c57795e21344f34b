"""Whom a second's trouble belongs to: each budget of seconds is shared out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servekit.diagnosis.readings import LOOP_CPU, REQUEST

if TYPE_CHECKING:
    from servekit.diagnosis.readings import Window

UNCLEAR = "unclear"
"""Other threads computed while the loop waited: for the interpreter, or for a call."""
OTHERS_SHARE = 0.5


def stall_shares(window: Window) -> dict[str, float]:
    """Return the stalled seconds by cause; what no cause claims is left out.

    The host comes first, then the collector, then code: whatever a worker did while it was given
    no CPU is not its code's fault. A loop's thread that is busy and neither computes nor waits for
    a CPU is in a call that waits.
    """
    cpu, wait = window.total(LOOP_CPU), window.total("process_cpu_wait_seconds_total")
    throttled = min(window.total("cgroup_cpu_throttled_seconds_total"), wait)
    collecting = window.total("python_gc_duration_seconds_sum")
    off_cpu = max(0.0, window.busy - cpu - wait)
    others = window.total("process_cpu_seconds_total") - cpu
    claims = {
        "cpu_quota": throttled,
        "cpu_starvation": wait - throttled,
        "gc": collecting,
        UNCLEAR if others > OTHERS_SHARE * off_cpu else "blocking_call": off_cpu,
        "cpu_on_loop": max(0.0, cpu - collecting),
    }
    if LOOP_CPU not in window.deltas:  # not Linux: who ran is not known
        claims = {"gc": collecting}
    return share_out(window.stalled, claims)


def wait_shares(window: Window) -> dict[str, float]:
    """Return the seconds of requests by what they waited for; what nothing claims is left out."""
    redis_pool = window.total("redis_pool_wait_seconds_sum")
    upstream_pool = window.total("upstream_pool_wait_seconds_sum")
    # An answer of Redis that has come waits for the loop as long as everything else.
    late = window.lag * window.total("redis_command_duration_seconds_count")
    redis = window.total("redis_command_duration_seconds_sum") - redis_pool - late
    upstream = window.total("upstream_request_duration_seconds_sum") - upstream_pool
    claims = {
        "redis_pool": redis_pool,
        "upstream_pool": upstream_pool,
        "offload_full": window.total("offload_queue_wait_seconds_sum"),
        "redis_slow": redis,
        "upstream_slow": upstream,
    }
    return share_out(window.total(f"{REQUEST}_sum"), claims)


def share_out(budget: float, claims: dict[str, float]) -> dict[str, float]:
    """Give each claim what is left of the budget, at most as much as it claims."""
    shares = {}
    for cause, claim in claims.items():
        shares[cause] = min(max(0.0, claim), budget)
        budget -= shares[cause]
    return shares
