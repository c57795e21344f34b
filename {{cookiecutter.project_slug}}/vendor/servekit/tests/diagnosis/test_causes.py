"""Each cause is found on its counters, alone, and its twin is left in peace."""

import pytest

from servekit.diagnosis.causes.waits import WAITS
from servekit.diagnosis.evidence import Evidence
from servekit.diagnosis.judgement import judge
from servekit.diagnosis.readings import LOOP_CPU, REQUEST, STALLED, STATEMENT
from tests.diagnosis.windows import (
    SLOW,
    SPOT,
    Deltas,
    doing,
    held,
    profiles,
    seconds_of,
    spread,
)

BUSY = "asyncio_eventloop_busy_seconds_total"
CPU = "process_cpu_seconds_total"
WAIT = "process_cpu_wait_seconds_total"
THROTTLED = "cgroup_cpu_throttled_seconds_total"
GC = "python_gc_duration_seconds_sum"
SHED = "http_requests_shed_total"
REDIS = "redis_command_duration_seconds"
UPSTREAM = "upstream_request_duration_seconds"

BLOCKED: Deltas = {STALLED: 0.8, BUSY: 0.9, LOOP_CPU: 0.05, CPU: 0.06}
COMPUTING: Deltas = {STALLED: 0.8, BUSY: 0.95, LOOP_CPU: 0.9, CPU: 0.92}
WITHOUT_CPU: Deltas = {STALLED: 0.6, BUSY: 0.8, LOOP_CPU: 0.2, CPU: 0.2, WAIT: 0.6}
REDIS_LATE: Deltas = {
    **SLOW,
    f"{REDIS}_sum": {"cache": 30.0},
    f"{REDIS}_count": {"cache": 300.0},
}
FULL: Deltas = {
    "offload_queue_wait_seconds_sum": {"threads": 30.0},
    "offload_queue_wait_seconds_count": {"threads": 60.0},
}
STARVED: Deltas = {
    "offload_queue_wait_seconds_sum": {"routes": 30.0},
    "offload_queue_wait_seconds_count": {"routes": 60.0},
}
DATABASE_LATE: Deltas = {f"{STATEMENT}_sum": 30.0, f"{STATEMENT}_count": 90.0}
MANY_STATEMENTS: Deltas = {f"{STATEMENT}_sum": 30.0, f"{STATEMENT}_count": 3000.0}
DATABASE_WAIT: Deltas = {"database_pool_wait_seconds_sum": 30.0}
UPSTREAM_LATE: Deltas = {f"{UPSTREAM}_sum": {"rates": 35.0}, f"{UPSTREAM}_count": {"rates": 50.0}}
MISSES: Deltas = {
    **SLOW,
    "cache_hits_total": {"local": 5.0, "redis": 5.0},
    "cache_misses_total": {"local": 195.0, "redis": 190.0},
}
HITS: Deltas = {
    **MISSES,
    "cache_hits_total": {"local": 100.0, "redis": 90.0},
    "cache_misses_total": {"local": 100.0, "redis": 10.0},
}
REFUSING: Deltas = {BUSY: 0.97, LOOP_CPU: 0.9, CPU: 0.9, SHED: {"event_loop_lag": 60.0}}

FOUND: dict[str, list[Deltas]] = {
    "blocking_call": [BLOCKED],
    "cpu_on_loop": [COMPUTING],
    "cpu_starvation": [WITHOUT_CPU],
    "cpu_quota": [WITHOUT_CPU, {THROTTLED: 0.6}],
    "gc": [COMPUTING, {GC: 0.75}],
    "overload": [REFUSING],
    "redis_slow": [REDIS_LATE],
    "redis_pool": [REDIS_LATE, {"redis_pool_wait_seconds_sum": {"cache": 29.0}}],
    "offload_full": [SLOW, FULL],
    "threads_starved": [SLOW, STARVED],
    "database_slow": [SLOW, DATABASE_LATE],
    "database_pool": [SLOW, {**DATABASE_LATE, f"{STATEMENT}_sum": 0.5}, DATABASE_WAIT],
    "many_statements": [SLOW, MANY_STATEMENTS],
    "stopped": [{STALLED: 0.6, "process_stopped_seconds_total": 0.55}],
    "steal": [{**BLOCKED, "host_cpu_steal_seconds_total": 0.9}],
    "upstream_slow": [SLOW, UPSTREAM_LATE],
    "upstream_pool": [SLOW, UPSTREAM_LATE, {"upstream_pool_wait_seconds_sum": {"rates": 33.0}}],
    "low_hit_ratio": [MISSES],
}


@pytest.mark.parametrize("cause", FOUND)
def test_a_cause_is_found_alone(cause):
    seen = judge(seconds_of(*FOUND[cause]), profiles())

    assert [verdict.cause for verdict in seen.verdicts] == [cause]
    [verdict] = seen.verdicts
    assert verdict.workers == ("0", "1")
    assert verdict.share > 0.5 or cause == "overload"
    assert seen.exit_code == 1


def test_threads_that_hold_the_interpreter_are_named_with_their_place():
    windows = seconds_of(BLOCKED, {CPU: 1.2})
    [verdict] = judge(windows, held(profiles(spread()), 90)).verdicts

    assert verdict.cause == "gil_contention"
    assert verdict.share > 0.9
    assert verdict.places[0].startswith("spin /srv/shop/report.py:7 (100% of the samples")


def test_threads_that_compute_beside_the_interpreter_leave_a_blocking_call_what_it_is():
    [verdict] = judge(seconds_of(BLOCKED, {CPU: 1.2}), held(profiles(), 3, free=90)).verdicts
    assert verdict.cause == "blocking_call"
    assert verdict.places[0].startswith("pay /srv/shop/orders.py:12")


@pytest.mark.parametrize(
    ("deltas", "file", "cause"),
    [
        (COMPUTING, "/x/site-packages/fastapi/routing.py", "huge_json"),
        (COMPUTING, "/usr/lib/python3.11/json/encoder.py", "huge_json"),
        (BLOCKED, "/usr/lib/python3.11/logging/__init__.py", "log_blocks"),
        (BLOCKED, "/x/site-packages/servekit/logs.py", "log_blocks"),
        (BLOCKED, "/usr/lib/python3.11/json/encoder.py", None),
        (COMPUTING, "/x/site-packages/servekit/logs.py", None),
    ],
)
def test_what_a_library_does_for_the_service_has_a_name_of_its_own(deltas, file, cause):
    blocked = {"asyncio_eventloop_blocked_total": {"/items": 9.0, "/": 1.0}}
    found = judge(seconds_of(deltas, blocked), doing(file)).verdicts
    assert [(one.cause, one.route) for one in found] == ([(cause, "/items")] if cause else [])


def test_the_collectors_time_is_not_computation_as_well():
    collecting: Deltas = {STALLED: 0.8, BUSY: 0.6, LOOP_CPU: 0.55, CPU: 0.56, GC: 0.5}
    found = [verdict.cause for verdict in judge(seconds_of(collecting), profiles()).verdicts]
    assert found == ["gc"]


def test_two_faults_at_once_are_both_named():
    both: Deltas = {STALLED: 0.9, BUSY: 0.95, LOOP_CPU: 0.45, CPU: 0.46}
    other = type(SPOT)("report", "/srv/shop/reports.py", 7)
    seen = judge(seconds_of(both), profiles({SPOT: 50, other: 40}))

    assert {verdict.cause for verdict in seen.verdicts} == {"blocking_call", "cpu_on_loop"}
    for verdict in seen.verdicts:
        assert "pay /srv/shop/orders.py:12" in verdict.places[0]
        assert "report /srv/shop/reports.py:7" in verdict.places[1]


TWINS: dict[str, list[Deltas]] = {
    "threads that compute without the interpreter's lock": [{CPU: 2.0}],
    "a loop that is busy and on time": [{BUSY: 0.95, LOOP_CPU: 0.93, CPU: 0.95}],
    "other processes, and nobody is late": [{WAIT: 0.5, BUSY: 0.7}],
    "a quota that is used up while idle": [{WAIT: 0.3, THROTTLED: 0.3, BUSY: 0.4}],
    "a collector that nobody feels": [{GC: 0.15}],
    "a slow neighbour that nobody waits for": [UPSTREAM_LATE],
    "misses that nobody feels": [{n: MISSES[n] for n in MISSES if n.startswith("cache")}],
    "a quota that makes nobody late": [{STALLED: 0.07, WAIT: 0.3, THROTTLED: 0.3, BUSY: 0.5}],
    "a queue that is short": [
        {"offload_queue_wait_seconds_sum": {"threads": 0.1},
         "offload_queue_wait_seconds_count": {"threads": 100.0}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("twin", TWINS)
def test_what_nobody_feels_is_healthy(twin):
    seen = judge(seconds_of(*TWINS[twin]), profiles())
    assert (seen.verdicts, seen.cannot, seen.exit_code) == ((), (), 0)


@pytest.mark.parametrize(
    ("seen", "silent", "busy"),
    [
        ([COMPUTING], "cpu_on_loop", spread()),
        ([BLOCKED], "blocking_call", spread()),
        ([BLOCKED, {CPU: 1.2}], "blocking_call", None),
        ([SLOW], "redis_slow", None),
        ([SLOW, HITS], "low_hit_ratio", None),
    ],
)
def test_a_symptom_without_a_sure_cause_is_no_verdict_but_a_reason(seen, silent, busy):
    judged = judge(seconds_of(*seen), profiles(busy))

    assert silent not in {verdict.cause for verdict in judged.verdicts}
    assert judged.exit_code == 2
    assert judged.cannot


@pytest.mark.parametrize("stalls", [BLOCKED, {**BLOCKED, STALLED: 0.4, BUSY: 0.5}])
def test_a_stalled_loop_makes_its_neighbours_look_slow_and_they_are_not_blamed(stalls):
    windows = seconds_of(stalls, REDIS_LATE, FULL, UPSTREAM_LATE, MISSES)
    found = {verdict.cause for verdict in judge(windows, profiles()).verdicts}
    assert found == {"blocking_call"}


def test_lag_that_every_command_waits_for_is_not_redis():
    late: Deltas = {"asyncio_eventloop_lag_seconds_sum": 9.5}
    seen = judge(seconds_of(REDIS_LATE, late), profiles())
    assert seen.verdicts == ()


def test_without_cpus_what_neighbours_take_longer_is_not_their_fault():
    slower: Deltas = {**REDIS_LATE, f"{REDIS}_count": {"cache": 1000.0}}  # 30 ms a command
    assert [one.cause for one in judge(seconds_of(slower), profiles()).verdicts] == ["redis_slow"]

    seen = judge(seconds_of(slower, {WAIT: 0.4}), profiles())
    assert seen.verdicts == ()
    assert "they waited for one for 40% of the time" in seen.cannot[1]


@pytest.mark.parametrize("at_once", [1, 30])
@pytest.mark.parametrize("cause", [*WAITS])
def test_calls_that_a_request_makes_at_once_are_as_slow_as_one_after_the_other(cause, at_once):
    metric, deltas = WAITS[cause].metric, FOUND[cause]
    more = {
        name: {label: value * at_once for label, value in series.items()}
        for name, series in seconds_of(*deltas)[0].deltas.items()
        if name.startswith(metric) or "_wait_" in name
    }
    [verdict] = judge(seconds_of(*deltas, more), profiles()).verdicts
    assert verdict.cause == cause
    [alone] = judge(seconds_of(*deltas), profiles()).verdicts
    assert verdict.score >= alone.score


def test_redis_is_not_slow_for_one_worker_of_two():
    windows = [*seconds_of(REDIS_LATE, workers=1), *seconds_of({**REDIS_LATE, f"{REDIS}_sum": 0.3})]
    windows = [one for one in windows if one.worker == "0" or one.total(f"{REDIS}_sum") < 1]
    assert "redis_slow" not in {one.cause for one in judge(windows, profiles()).verdicts}


def test_a_slow_handler_with_a_full_queue_behind_it_is_no_overload():
    seen = judge(seconds_of(COMPUTING, REFUSING, {STALLED: 0.8}), profiles())
    assert [verdict.cause for verdict in seen.verdicts] == ["cpu_on_loop"]


@pytest.mark.parametrize("cause", sorted(FOUND.keys() - {"low_hit_ratio"}))
def test_one_bad_second_at_the_start_is_no_cause(cause):
    windows = [*seconds_of(count=9), *seconds_of(*FOUND[cause], workers=1, count=1, begin=10)]
    seen = judge(windows, profiles())
    assert (seen.verdicts, seen.exit_code) == ((), 2 if cause == "overload" else 0)


def test_a_bad_second_of_every_worker_is_no_cause_in_a_long_time():
    assert (
        judge([*seconds_of(count=14), *seconds_of(BLOCKED, count=1, begin=15)], {}).verdicts == ()
    )


def test_three_windows_of_ten_of_one_worker_are_enough_and_two_are_not():
    for bad, expected in ((2, 0), (3, 1)):
        windows = [
            *seconds_of(count=10 - bad),
            *seconds_of(BLOCKED, workers=1, count=bad, begin=11 - bad),
        ]
        windows += [w for w in seconds_of(count=bad, begin=11 - bad) if w.worker == "1"]
        assert len(judge(windows, profiles()).verdicts) == expected


def test_a_place_is_told_of_the_workers_concerned_only():
    other = type(SPOT)("elsewhere", "/srv/shop/b.py", 1)
    sampled = {"0": profiles({SPOT: 10})["0"], "1": profiles({other: 500})["0"]}
    [place] = Evidence([], sampled).places(["0"]) or [""]
    assert place == "pay /srv/shop/orders.py:12 (100% of the busy samples)"


def test_without_a_profile_the_cause_stands_and_the_place_is_not_told():
    [verdict] = judge(seconds_of(BLOCKED), {}).verdicts
    assert verdict.cause == "blocking_call"
    assert (verdict.places, verdict.route) == ((), "")


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        (seconds_of({f"{REQUEST}_count": 0.0, f"{REQUEST}_bucket": 0.0}), "0 requests came"),
        (seconds_of({f"{REQUEST}_count": {"404": 100.0}}), "100% of the requests ended with 4xx"),
        (seconds_of(count=3), "3 readings of counters"),
        ([], "0 readings of counters"),
        (seconds_of(SLOW), "80% of the requests took longer than 0.25 s"),
        (seconds_of(BLOCKED, {CPU: 1.2}), "other threads computed meanwhile"),
    ],
)
def test_what_cannot_be_judged_is_told_with_its_reason(windows, reason):
    seen = judge(windows, profiles())
    assert seen.exit_code == 2
    assert any(reason in told for told in seen.cannot), seen.cannot
