"""What is on the boards.

A line in a panel is where `doctor` or an alert begins to look; the text names its cause or alert.
"""

from __future__ import annotations

from typing import NamedTuple

from queries import (
    ANSWERED,
    EACH,
    FAILED_SHARE,
    FAILURE,
    HIT_RATIO,
    REQUEST,
    SHED,
    SLOW_SHARE,
    STATEMENT,
    STATEMENTS_EACH,
    UNEVENNESS,
    WORKER,
    burns,
    mean,
    quantile,
    rate,
    series,
    top,
    total,
)


class Panel(NamedTuple):
    """A picture of queries, by legend; with `kind` "stat" it is the last number."""

    title: str
    unit: str
    lines: tuple[float, ...]
    text: str
    queries: dict[str, str]
    kind: str = "timeseries"


TRACE = (
    "From a slow answer to its trace: the log's record `http_request` has `route`, `duration_ms`, "
    "`request_id` and, where the request is traced, `trace_id`."
)
BURN = (
    "1 spends the budget of 30 days in 30 days. Lines: a ticket from 1 (in 3d and 6h), a page from "
    "6 (6h and 30m) and from 14.4 (1h and 5m)."
)

# A table reads by its rows:
# fmt: off
OVERVIEW = (
    Panel("Requests", "reqps", (), "Answered a second.", {"": total(ANSWERED)}, "stat"),
    Panel("Failed share", "percentunit", (0.01,),
          "Of all requests: 5xx, and refused for overload. From 1 % on `doctor` looks for a cause.",
          {"": FAILED_SHARE}, "stat"),
    Panel("Slow share", "percentunit", (0.01,),
          "Of the answers: took more than 0.25 s. From 1 % on `doctor` looks for a cause.",
          {"": SLOW_SHARE}, "stat"),
    Panel("p99", "s", (0.25,), "99 % of the answers took less.", {"": quantile(0.99, REQUEST)},
          "stat"),
    Panel("Workers", "none", (), "Those that serve.", {"": total(series("worker_ready"))}, "stat"),
    Panel("Error budget, 3 days", "none", (1,), "How fast it was spent: above 1 it does not last.",
          {"": 'job:http_errors:burn3d{job="$job"}'}, "stat"),
    Panel("Error budget burn", "none", (1, 6, 14.4), f"Failed and refused requests. {BURN}",
          burns("http_errors")),
    Panel("Latency budget burn", "none", (1, 6, 14.4),
          f"Answers that took more than 0.25 s. {BURN}", burns("http_slow_answers")),
    Panel("Failed and refused", "reqps", (),
          "By status; shed: refused for overload; unread: refused before any layer, such as 408.",
          {"{{status}}": total(rate(f"{REQUEST}_count", FAILURE), "status"),
           "shed: {{reason}}": total(SHED, "reason"),
           "unread: {{status}}": total(rate("http_server_refused_requests_total"), "status"),
           "rate limit: {{store}}": total(rate("http_requests_rate_limited_total"), "store")}),
    Panel("Latency", "s", (0.25,), TRACE,
          {f"p{share}": quantile(share / 100, REQUEST) for share in (50, 95, 99)}),
    Panel("p99 by route", "s", (0.25,), f"The ten slowest. {TRACE}",
          {"{{method}} {{route}}": f"topk(10, {quantile(0.99, REQUEST, 'method, route')})"}),
    Panel("Slow share over time", "percentunit", (0.01,), "Took more than 0.25 s.",
          {"slow": SLOW_SHARE}),
    Panel("Answers by status", "reqps", (), "499: the client left before its answer.",
          {"{{status}}": total(ANSWERED, "status")}),
    Panel("Answers by route", "reqps", (), "The ten busiest; without a path: no route matched.",
          {"{{method}} {{route}}": top(ANSWERED, "method, route")}),
    Panel("Failed by route", "reqps", (), "5xx; the log has a line for each.",
          {"{{status}} {{method}} {{route}}":
           top(rate(f"{REQUEST}_count", FAILURE), "status, method, route")}),
)
WORKERS = (
    Panel("Loop lag", "s", (0.05, 0.07),
          "p99. Lines: the alert EventLoopLags; `PRESSURE_LOOP_LAG_MS`: what takes four times as "
          "long and waits is shed.",
          {EACH: quantile(0.99, "asyncio_eventloop_lag_seconds", WORKER)}),
    Panel("Loop standing still", "percentunit", (0.1,),
          "Share of the time. Line: `blocking_call`, `cpu_on_loop`, `gil_contention`.",
          {EACH: total(rate("asyncio_eventloop_stall_seconds_total"), WORKER)}),
    Panel("Loop blocked, by route", "ops", (),
          "A second; `event_loop_blocked` in the log has the stack. Without a path: no request.",
          {"route {{route}}": top(rate("asyncio_eventloop_blocked_total"), "route")}),
    Panel("Loop busy", "percentunit", (0.85,), "Line: with refusals it is `overload`.",
          {EACH: total(rate("asyncio_eventloop_busy_seconds_total"), WORKER)}),
    Panel("CPU", "percentunit", (),
          "Of one CPU: the process and, below it, the loop's thread; between them: other threads.",
          {f"process, {EACH}": total(rate("process_cpu_seconds_total"), WORKER),
           f"loop, {EACH}": total(rate("asyncio_eventloop_cpu_seconds_total"), WORKER)}),
    Panel("Waiting for a CPU", "percentunit", (0.1,),
          "The loop's thread was ready and had none. Line: `cpu_starvation`.",
          {EACH: total(rate("process_cpu_wait_seconds_total"), WORKER)}),
    Panel("Held back by the quota", "percentunit", (0.05,),
          "All CPUs of the container together. Line: `cpu_quota`.",
          {"{{instance}}": f"max by (instance) ({rate('cgroup_cpu_throttled_seconds_total')})"}),
    Panel("Stolen by the hypervisor", "percentunit", (0.05,),
          "Of the time of a CPU, mean of the machine's. Line: `steal`.",
          {"{{instance}}": f"max by (instance) ({rate('host_cpu_steal_seconds_total')})"}),
    Panel("Stopped", "percentunit", (0.1,),
          "Nothing of the process ran: SIGSTOP, a paused machine, swap. Line: `stopped`.",
          {EACH: total(rate("process_stopped_seconds_total"), WORKER)}),
    Panel("Garbage collector", "percentunit", (0.1,),
          "Share of the time; nothing else runs meanwhile. Line: `gc`.",
          {EACH: total(rate("python_gc_duration_seconds_sum"), WORKER)}),
    Panel("Pressure", "percentunit", (), "0 at ease; at 1 next to everything is refused.",
          {EACH: total(series("pressure_level_ratio"), WORKER)}),
    Panel("Answers by worker", "reqps", (), "Each worker accepts for itself.",
          {EACH: total(ANSWERED, WORKER)}),
    Panel("Busiest worker to the usual one", "none", (1.5,),
          "Answers of the busiest to the median. Line: `uneven_workers`.",
          {"{{instance}}": UNEVENNESS}),
    Panel("Requests in progress", "none", (), "That run at this moment.",
          {EACH: total(series("http_server_active_requests"), WORKER)}),
    Panel("Connections", "none", (), "That clients have open.",
          {EACH: total(series("worker_connections"), WORKER)}),
    Panel("Tasks", "none", (), "The ten most frequent. One that only rises: `task_leak`.",
          {"{{coroutine}}": top(series("asyncio_tasks"), "coroutine")}),
    Panel("Workers not ready", "none", (1,), "Line: the alert WorkerNotReady.",
          {EACH: f"1 - {total(series('worker_ready'), WORKER)}"}),
    Panel("Replaced workers", "ops", (), "A second, by reason: crash, hang and start are faults.",
          {"{{reason}}": total(rate("worker_restarts_total"), "reason")}),
    Panel("Age", "s", (), "It falls where a worker was replaced.",
          {EACH: total(series("worker_uptime_seconds"), WORKER)}),
    Panel("Silence", "s", (10,),
          "Since the loop's last sign. Line: a worker is replaced (`WORKER_HANG_SECONDS`).",
          {EACH: total(series("worker_heartbeat_age_seconds"), WORKER)}),
)
MEMORY = (
    Panel("Resident memory", "bytes", (), "Shared pages included.",
          {EACH: total(series("process_resident_memory_bytes"), WORKER)}),
    Panel("Growth an hour", "bytes", (1048576,),
          "Over two hours: says nothing before. Line: the alert MemoryGrows.",
          {EACH: f"3600 * deriv({series('process_resident_memory_bytes')}[2h])"}),
    Panel("Memory of an instance", "bytes", (),
          "Its workers, with shared pages divided among their users.",
          {"{{instance}}": total(series("process_proportional_memory_bytes"), "instance")}),
    Panel("Blocks in use", "none", (),
          "Python's objects. Flat while memory grows: it is not objects that grow.",
          {EACH: total(series("python_allocated_blocks"), WORKER)}),
    Panel("Local caches", "bytes", (), "Estimated size.",
          {"answers and values": total(series("cache_local_size_bytes")),
           "sessions": total(series("session_local_size_bytes"))}),
    Panel("Collections", "ops", (), "By generation.",
          {"{{generation}}": total(rate("python_gc_collections_total"), "generation")}),
    Panel("Longest collections", "s", (0.05,), "p99. Line: clients feel a stall.",
          {EACH: quantile(0.99, "python_gc_duration_seconds", WORKER)}),
    Panel("Collected objects", "ops", (), "Cycles that nothing else would have freed.",
          {"collected": total(rate("python_gc_objects_collected_total")),
           "uncollectable": total(rate("python_gc_objects_uncollectable_total"))}),
    Panel("Frozen objects", "none", (), "Made before the fork: the collector passes them over.",
          {EACH: total(series("python_gc_frozen_objects"), WORKER)}),
    Panel("Open files", "none", (), "With sockets. One that only rises: `file_leak`.",
          {EACH: total(series("process_open_fds"), WORKER)}),
    Panel("Open files, of the limit", "percentunit", (0.8,), "At 1 no connection is accepted.",
          {EACH: f"{series('process_open_fds')} / ({series('process_max_fds')} > 0)"}),
    Panel("Threads", "none", (), "Those of libraries included.",
          {EACH: total(series("process_threads"), WORKER)}),
)
CACHE = (
    Panel("Hit ratio", "percentunit", (0.5,),
          "By cache and tier. Redis is asked what the local tier has not. Line: `low_hit_ratio`.",
          {"{{cache}} {{tier}}": HIT_RATIO}),
    Panel("Look-ups", "ops", (), "Stale: answered with a value past its lifetime.",
          {"hit, {{tier}}": total(rate("cache_hits_total"), "tier"),
           "stale, {{tier}}": total(rate("cache_stale_hits_total"), "tier"),
           "miss, {{tier}}": total(rate("cache_misses_total"), "tier")}),
    Panel("Writes and invalidations", "ops", (), "By tier.",
          {"written, {{tier}}": total(rate("cache_writes_total"), "tier"),
           "invalidated, {{tier}}": total(rate("cache_invalidations_total"), "tier")}),
    Panel("Redis commands", "ops", (), "By pool.",
          {"{{pool}}": total(rate("redis_command_duration_seconds_count"), "pool")}),
    Panel("Redis command", "s", (0.01,),
          "Mean, with the wait for a connection and the loop's own lag. Line: `redis_slow`.",
          {"{{pool}}": mean("redis_command_duration_seconds", "pool")}),
    Panel("Redis command, p99", "s", (), "By pool.",
          {"{{pool}}": quantile(0.99, "redis_command_duration_seconds", "pool")}),
    Panel("Wait for a connection to Redis", "s", (0.01,), "A command. Line: `redis_pool`.",
          {"{{pool}}":
           mean("redis_pool_wait_seconds", "pool", of="redis_command_duration_seconds")}),
    Panel("Redis breakers", "none", (1,), "0 closed, 1 half open, 2 open; the worst of all.",
          {"{{pool}}": f"max by (pool) ({series('redis_breaker_state')})"}),
    Panel("Redis retries", "ops", (), "Commands that were sent again.",
          {"retries": total(rate("redis_retries_total"))}),
    Panel("Invalidation channel down", "none", (1,),
          "1: reads pass the local tier by. Line: the alert CacheInvalidationDown.",
          {f"cache, {EACH}": f"1 - {total(series('cache_invalidation_channel_up'), WORKER)}",
           f"sessions, {EACH}": f"1 - {total(series('session_invalidation_channel_up'), WORKER)}"}),
)
DATABASES = (
    Panel("Statements", "ops", (), "With `servekit.sql`, all databases together.",
          {"statements": total(rate(f"{STATEMENT}_count"))}),
    Panel("Statement", "s", (0.05,),
          "Mean, with the loop's own lag, the wait for a connection aside. Line: `database_slow`.",
          {"mean": mean(STATEMENT)}),
    Panel("Statement, quantiles", "s", (), "The wait for a connection aside.",
          {f"p{share}": quantile(share / 100, STATEMENT) for share in (50, 95, 99)}),
    Panel("Wait for a connection to a database", "s", (0.01,),
          "A statement. Line: `database_pool`.",
          {"mean": mean("database_pool_wait_seconds", of=STATEMENT)}),
    Panel("Statements a request", "none", (10,), "Of all requests. Line: `many_statements`.",
          {"mean": STATEMENTS_EACH}),
    Panel("Time in statements, by worker", "percentunit", (),
          "Seconds a second: above 1 they run side by side.",
          {EACH: total(rate(f"{STATEMENT}_sum"), WORKER)}),
)
OFFLOAD = (
    Panel("Calls that wait for a place", "none", (), "By pool.",
          {"{{pool}}": total(series("offload_queue_size"), "pool")}),
    Panel("Wait for a place", "s", (0.05,),
          "Mean; `routes` are `def` routes. Line: `offload_full`, `threads_starved`.",
          {"{{pool}}": mean("offload_queue_wait_seconds", "pool")}),
    Panel("Offloaded calls", "ops", (), "By pool.",
          {"{{pool}}": total(rate("offload_run_seconds_count"), "pool")}),
    Panel("Time of an offloaded call", "s", (), "p99, killed and abandoned ones included.",
          {"{{pool}}": quantile(0.99, "offload_run_seconds", "pool")}),
    Panel("Offloaded calls that failed", "ops", (),
          "Rejected: pool and queue were full, the alert OffloadRejects.",
          {"rejected, {{pool}}": total(rate("offload_rejected_total"), "pool"),
           "timed out, {{pool}}": total(rate("offload_timeouts_total"), "pool"),
           "unwanted, {{pool}}": total(rate("offload_unwanted_total"), "pool")}),
    Panel("Replaced processes", "ops", (), "Of the pools.",
          {"{{pool}}": total(rate("offload_worker_restarts_total"), "pool")}),
    Panel("Calls to upstreams", "reqps", (), "By how they ended.",
          {"{{upstream}} {{result}}":
           total(rate("upstream_request_duration_seconds_count"), "upstream, result")}),
    Panel("Call to an upstream", "s", (0.1,), "Mean, retries included. Line: `upstream_slow`.",
          {"{{upstream}}": mean("upstream_request_duration_seconds", "upstream")}),
    Panel("Call to an upstream, p99", "s", (), "Retries included.",
          {"{{upstream}}": quantile(0.99, "upstream_request_duration_seconds", "upstream")}),
    Panel("Wait for a connection to an upstream", "s", (0.01,), "A call. Line: `upstream_pool`.",
          {"{{upstream}}":
           mean("upstream_pool_wait_seconds", "upstream", of="upstream_request_duration_seconds")}),
    Panel("Upstream retries", "ops", (), "Calls that were made a second time.",
          {"{{upstream}}": total(rate("upstream_retries_total"), "upstream")}),
    Panel("Upstream breakers", "none", (1,), "0 closed, 1 half open, 2 open; the worst of all.",
          {"{{upstream}}": f"max by (upstream) ({series('upstream_breaker_state')})"}),
)
SESSIONS = (
    Panel("Sessions looked up in Redis", "ops", (), "By result.",
          {"{{result}}": total(rate("session_loads_total"), "result")}),
    Panel("Sessions read from the local tier", "ops", (), "Without asking Redis.",
          {"local": total(rate("session_local_hits_total"))}),
    Panel("Sessions created", "ops", (), "For a logged-in user, or an anonymous visitor.",
          {"{{kind}}": total(rate("session_created_total"), "kind")}),
    Panel("Sessions revoked", "ops", (), "Ended before their lifetime was over, by reason.",
          {"{{reason}}": total(rate("session_revoked_total"), "reason")}),
    Panel("Refused cookies", "ops", (), "Forged, damaged or ambiguous. Many: somebody tries.",
          {"refused": total(rate("session_rejected_cookies_total"))}),
    Panel("Dropped writes", "ops", (), "They came after a logout, a login or the session's end.",
          {"dropped": total(rate("session_dropped_writes_total"))}),
)
# fmt: on

BOARDS = {
    "overview": OVERVIEW,
    "workers and event loop": WORKERS,
    "memory and process": MEMORY,
    "cache and Redis": CACHE,
    "databases": DATABASES,
    "offload and upstreams": OFFLOAD,
    "sessions": SESSIONS,
}
