"""Counters of a service as they would be, well or with causes injected, with noise around them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from servekit.diagnosis.readings import (
    BREAKERS,
    LOOP_CPU,
    REQUEST,
    SLOW_BUCKET,
    STALLED,
    STATEMENT,
    TASKS,
)

Deltas = dict[str, dict[str, float]]
Injection = Callable[[Random, Deltas], None]

BUSY = "asyncio_eventloop_busy_seconds_total"
CPU = "process_cpu_seconds_total"
WAIT = "process_cpu_wait_seconds_total"
LAG = "asyncio_eventloop_lag_seconds"
REDIS = "redis_command_duration_seconds"
UPSTREAM = "upstream_request_duration_seconds"
OFFLOAD = "offload_queue_wait_seconds"
SHED = "http_requests_shed_total"
MIB = 2**20


def well(rng: Random, rate: float) -> Deltas:
    """Return a second of a worker that clients are content with."""
    requests = rate * rng.uniform(0.8, 1.2)
    cpu, wait = rng.uniform(0.02, 0.3), rng.uniform(0, 0.04)
    lag, others = rng.uniform(0.0002, 0.004), rng.uniform(0, 0.15)
    redis, statements = requests * rng.uniform(0, 3), requests * rng.uniform(0, 3)
    calls, offloaded = requests * rng.uniform(0, 0.3), requests * rng.uniform(0, 0.3)
    looked_up = requests * rng.uniform(0, 2)
    hits = looked_up * rng.uniform(0.7, 1)
    return {
        STALLED: {"": rng.choice([0.0, rng.uniform(0.05, 0.09)])},
        LOOP_CPU: {"": cpu},
        CPU: {"": cpu + others},
        WAIT: {"": wait},
        BUSY: {"": cpu + wait + rng.uniform(0, 0.05)},
        "cgroup_cpu_throttled_seconds_total": {"": rng.uniform(0, wait)},
        "host_cpu_steal_seconds_total": {"": rng.uniform(0, 0.03)},
        "process_stopped_seconds_total": {},
        "python_gc_duration_seconds_sum": {"": cpu * rng.uniform(0, 0.2)},
        f"{LAG}_sum": {"": lag * 100},
        f"{LAG}_count": {"": 100.0},
        f"{REQUEST}_count": {"200": requests},
        f"{REQUEST}_bucket": {SLOW_BUCKET: requests, "+Inf": requests},
        f"{REQUEST}_sum": {"/": requests * rng.uniform(0.002, 0.1)},
        f"{REDIS}_count": {"cache": redis},
        f"{REDIS}_sum": {"cache": redis * (lag + rng.uniform(0.0003, 0.003))},
        f"{STATEMENT}_count": {"": statements},
        f"{STATEMENT}_sum": {"": statements * (lag + rng.uniform(0.0005, 0.005))},
        f"{UPSTREAM}_count": {"other": calls},
        f"{UPSTREAM}_sum": {"other": calls * rng.uniform(0.01, 0.08)},
        f"{OFFLOAD}_count": {"routes": offloaded, "threads": offloaded},
        f"{OFFLOAD}_sum": {
            name: offloaded * rng.uniform(0, 0.002) for name in ("routes", "threads")
        },
        "cache_hits_total": {"local": hits},
        "cache_misses_total": {"local": looked_up - hits},
    }


def levels(rng: Random) -> Deltas:
    """Return the gauges of such a worker."""
    return {
        TASKS: {"serve": 20 + rng.uniform(0, 8), "watch": 3.0},
        "worker_connections": {"": 20 + rng.uniform(0, 4)},
        "http_server_active_requests": {"": rng.uniform(0, 4)},
        "process_open_fds": {"": 60 + rng.uniform(0, 8)},
        "process_resident_memory_bytes": {"": (150 + rng.uniform(0, 6)) * MIB},
        "cache_local_size_bytes": {"": 10 * MIB},
        **{metric: {"one": 0.0, "other": 0.0} for metric in BREAKERS.values()},
    }


def stand_still(deltas: Deltas, seconds: float, **spent: float) -> None:
    """Have the loop stand still, and add what else grew meanwhile, by the metric."""
    cpu, wait = deltas[LOOP_CPU][""], deltas[WAIT][""]
    busy = min(1.0, cpu + wait + seconds)
    deltas[STALLED] = {"": min(1.0, seconds * 1.02)}
    deltas[BUSY] = {"": busy}
    for name, value in spent.items():
        deltas[name] = {"": deltas.get(name, {}).get("", 0.0) + value}


def blocking_call(rng: Random, deltas: Deltas) -> None:
    quiet(deltas)
    stand_still(deltas, rng.uniform(0.3, 0.9))


def cpu_on_loop(rng: Random, deltas: Deltas) -> None:
    seconds = rng.uniform(0.3, 0.65)
    stand_still(deltas, seconds, **{LOOP_CPU: seconds, CPU: seconds})


def gil_contention(rng: Random, deltas: Deltas) -> None:
    quiet(deltas)
    stand_still(deltas, rng.uniform(0.3, 0.9), **{CPU: rng.uniform(0.95, 1.5)})


def gc(rng: Random, deltas: Deltas) -> None:
    seconds = rng.uniform(0.3, 0.65)
    spent = {LOOP_CPU: seconds, CPU: seconds, "python_gc_duration_seconds_sum": seconds}
    stand_still(deltas, seconds, **spent)


def cpu_starvation(rng: Random, deltas: Deltas) -> None:
    seconds = rng.uniform(0.3, 0.65)
    deltas["cgroup_cpu_throttled_seconds_total"] = {}
    stand_still(deltas, seconds, **{WAIT: seconds})


def cpu_quota(rng: Random, deltas: Deltas) -> None:
    seconds = rng.uniform(0.3, 0.65)
    deltas["cgroup_cpu_throttled_seconds_total"] = {"": seconds}
    stand_still(deltas, seconds)
    deltas[WAIT] = {"": seconds}


def steal(rng: Random, deltas: Deltas) -> None:
    quiet(deltas)
    seconds = rng.uniform(0.3, 0.9)
    stand_still(deltas, seconds, host_cpu_steal_seconds_total=seconds)


def stopped(rng: Random, deltas: Deltas) -> None:
    quiet(deltas)
    seconds = rng.uniform(0.3, 0.9)
    deltas["process_stopped_seconds_total"] = {"": seconds}
    deltas[STALLED] = {"": seconds}


def quiet(deltas: Deltas) -> None:
    """Have the loop do little else."""
    deltas[LOOP_CPU], deltas[CPU] = {"": 0.02}, {"": 0.03}
    deltas[WAIT], deltas[BUSY] = {"": 0.005}, {"": 0.03}


def overload(rng: Random, deltas: Deltas) -> None:
    cpu = rng.uniform(0.86, 0.95)
    deltas |= {LOOP_CPU: {"": cpu}, CPU: {"": cpu}, BUSY: {"": 0.97}, STALLED: {}}
    deltas[SHED] = {"event_loop_lag": deltas[f"{REQUEST}_count"]["200"] * rng.uniform(0.05, 2)}


def slow_requests(rng: Random, deltas: Deltas) -> float:
    """Have most requests take long, and return the seconds of all together."""
    requests = deltas[f"{REQUEST}_count"]["200"]
    deltas[f"{REQUEST}_bucket"] = {SLOW_BUCKET: requests * rng.uniform(0.1, 0.8)}
    seconds = requests * rng.uniform(0.4, 2)
    deltas[f"{REQUEST}_sum"] = {"/": seconds}
    return seconds


def waiting(metric: str, label: str, limit: float, wait: str = "") -> Injection:
    """Return what has requests wait for something, `wait` being where a pool's wait is counted."""

    def inject(rng: Random, deltas: Deltas) -> None:
        waited = slow_requests(rng, deltas) * rng.uniform(0.5, 0.85)
        calls = waited / rng.uniform(2 * limit, 20 * limit)
        lag = deltas[f"{LAG}_sum"][""] / deltas[f"{LAG}_count"][""]
        deltas[f"{metric}_count"] = {label: calls}
        deltas[f"{metric}_sum"] = {label: waited + lag * calls}
        if wait:
            deltas[f"{wait}_sum"] = {label: waited}
            if metric == STATEMENT:  # whose time does not hold the wait
                deltas[f"{metric}_sum"] = {label: calls * (lag + 0.001)}

    return inject


def lock_wait(rng: Random, deltas: Deltas) -> None:
    slow_requests(rng, deltas)  # no counter says more: the profile does


def many_statements(rng: Random, deltas: Deltas) -> None:
    waited = slow_requests(rng, deltas) * rng.uniform(0.5, 0.85)
    statements = deltas[f"{REQUEST}_count"]["200"] * rng.uniform(60, 200)
    lag = deltas[f"{LAG}_sum"][""] / deltas[f"{LAG}_count"][""]
    deltas[f"{STATEMENT}_count"] = {"": statements}
    deltas[f"{STATEMENT}_sum"] = {"": waited + lag * statements}


def low_hit_ratio(rng: Random, deltas: Deltas) -> None:
    slow_requests(rng, deltas)
    looked_up = rng.uniform(200, 400)
    hits = looked_up * rng.uniform(0, 0.05)
    deltas["cache_hits_total"] = {"local": hits}
    deltas["cache_misses_total"] = {"local": looked_up - hits}


def fail(rng: Random, deltas: Deltas) -> None:
    """Have requests fail at once."""
    requests = deltas[f"{REQUEST}_count"]["200"]
    failed = requests * rng.uniform(0.05, 1)
    deltas[f"{REQUEST}_count"] = {"200": requests - failed, "503": failed}


def redis_away(rng: Random, deltas: Deltas) -> None:
    fail(rng, deltas)
    asked = rng.uniform(200, 400)
    deltas["cache_hits_total"] = {"local": asked * rng.uniform(0, 0.1)}
    deltas["cache_misses_total"] = {"local": asked, "redis": asked}
    probes = rng.uniform(1, 5)
    deltas[f"{REDIS}_count"], deltas[f"{REDIS}_sum"] = {"cache": probes}, {"cache": probes * 0.2}


def upstream_away(rng: Random, deltas: Deltas) -> None:
    fail(rng, deltas)
    probes = rng.uniform(1, 5)
    deltas[f"{UPSTREAM}_count"] = {"other": probes}
    deltas[f"{UPSTREAM}_sum"] = {"other": probes * 0.5}


IN_A_SECOND: dict[str, Injection] = {
    "stopped": stopped,
    "steal": steal,
    "cpu_quota": cpu_quota,
    "cpu_starvation": cpu_starvation,
    "gc": gc,
    "gil_contention": gil_contention,
    "blocking_call": blocking_call,
    "log_blocks": blocking_call,
    "cpu_on_loop": cpu_on_loop,
    "huge_json": cpu_on_loop,
    "overload": overload,
    "redis_pool": waiting(REDIS, "cache", 0.01, "redis_pool_wait_seconds"),
    "database_pool": waiting(STATEMENT, "", 0.01, "database_pool_wait_seconds"),
    "connection_held": waiting(STATEMENT, "", 0.01, "database_pool_wait_seconds"),
    "upstream_pool": waiting(UPSTREAM, "other", 0.01, "upstream_pool_wait_seconds"),
    "offload_full": waiting(OFFLOAD, "threads", 0.05),
    "threads_starved": waiting(OFFLOAD, "routes", 0.05),
    "redis_slow": waiting(REDIS, "cache", 0.01),
    "database_slow": waiting(STATEMENT, "", 0.05),
    "upstream_slow": waiting(UPSTREAM, "other", 0.1),
    "lock_wait": lock_wait,
    "many_statements": many_statements,
    "low_hit_ratio": low_hit_ratio,
    "redis_away": redis_away,
    "upstream_away": upstream_away,
}
"""What changes a second in which a cause is at work."""

RISES = {
    "task_leak": (TASKS, "forget", 6, 60),
    "file_leak": ("process_open_fds", "", 6, 60),
    "memory_growth": ("process_resident_memory_bytes", "", 8 * MIB, 40 * MIB),
}
"""By the second, from the least that noise cannot hide to the most."""
