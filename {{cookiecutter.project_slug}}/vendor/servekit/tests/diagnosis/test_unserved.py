"""Requests that were refused or failed, in however few seconds: nobody calls that healthy."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from servekit.diagnosis.judgement import judge
from servekit.diagnosis.readings import BREAKERS, REQUEST, Window
from tests.diagnosis.test_causes import BLOCKED, MISSES, REDIS_LATE, SHED, UPSTREAM
from tests.diagnosis.windows import SLOW, Deltas, profiles, seconds_of

REFUSED: Deltas = {
    f"{REQUEST}_count": {"200": 20.0, "503": 80.0},
    "offload_rejected_total": {"processes": 80.0},
}
BAD = {
    "failed": (f"{REQUEST}_count", "500"),
    "were answered 503": (f"{REQUEST}_count", "503"),
    "were shed": (SHED, "queue"),
}


@settings(deadline=None)
@given(st.sampled_from(sorted(BAD)), st.integers(1, 300), st.integers(1, 5))
def test_where_one_request_of_a_hundred_is_not_served_nobody_is_healthy(how, bad, seconds):
    metric, label = BAD[how]
    failing: Deltas = {metric: {label: float(bad)}}
    windows = [
        *seconds_of(count=20 - seconds),
        *seconds_of(failing, count=seconds, begin=21 - seconds),
    ]
    share = sum(w.failed + w.shed for w in windows) / sum(w.requests + w.shed for w in windows)
    assert share < 0.01 or judge(windows, profiles()).exit_code != 0


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["200", "204", "404", "429", "500", "503", "failed", "unsent"]),
        st.integers(1, 200),
    )
)
def test_a_doctor_whose_own_requests_failed_calls_nobody_healthy(ended):
    bad = sum(count for how, count in ended.items() if how not in {"200", "204", "404"})
    seen = judge(seconds_of(), profiles(), ended)
    assert seen.exit_code == (2 if bad and bad >= 0.01 * sum(ended.values()) else 0)


def test_the_reason_tells_how_the_doctors_own_requests_ended():
    [told] = judge(seconds_of(), profiles(), {"200": 264, "503": 36}).cannot
    assert told == "12% of the doctor's own requests failed or were refused (36 x 503)"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_that_refused_calls_in_one_second_only_is_named(workers):
    windows = [*seconds_of(count=14), *seconds_of(REFUSED, workers=workers, count=1, begin=15)]
    [verdict] = judge(windows, profiles()).verdicts

    assert verdict.cause == "offload_full"
    assert "(processes)" in verdict.sentence
    assert f"{80 * workers} calls were refused" in verdict.sentence


def test_a_pool_that_refused_calls_which_nobody_missed_is_left_in_peace():
    calm = {**REFUSED, f"{REQUEST}_count": {"200": 100.0}}
    assert judge(seconds_of(calm), profiles()).exit_code == 0


def test_a_pool_that_refuses_behind_a_still_loop_is_the_loops_fault():
    seen = judge(seconds_of(BLOCKED, REFUSED), profiles())
    assert [verdict.cause for verdict in seen.verdicts] == ["blocking_call"]


@pytest.mark.parametrize("state", [1.0, 2.0])
def test_a_redis_whose_breaker_is_open_while_requests_fail_is_away_and_not_slow(state):
    failing: Deltas = {**REDIS_LATE, **MISSES, f"{REQUEST}_count": {"503": 100.0}}
    levels = {BREAKERS["redis"]: {"cache": 0.0, "sessions": state}}
    windows = [replace(one, levels=levels) for one in seconds_of(failing)]
    [verdict] = judge(windows, profiles()).verdicts

    assert verdict.cause == "redis_away"
    assert "the breaker of sessions is open" in verdict.sentence
    assert verdict.share == 1


def test_beside_a_loop_that_stood_still_it_is_told_why_no_more_is_judged():
    [told] = judge(seconds_of(BLOCKED, count=4), profiles()).cannot
    assert told.startswith("what else ails it (4 readings of counters, 5 are needed: a loop that")


def test_a_redis_that_is_away_is_named_where_its_cache_is_missed_though_nothing_fails():
    levels = {BREAKERS["redis"]: {"cache": 2.0}}
    windows = [replace(one, levels=levels) for one in seconds_of(SLOW, MISSES)]
    assert "redis_away" in [one.cause for one in judge(windows, profiles()).verdicts]


def test_a_breaker_that_is_open_is_not_blamed_for_what_takes_long_or_fails_elsewhere():
    levels = {metric: {"one": 2.0} for metric in BREAKERS.values()}
    for trouble in (SLOW, {f"{REQUEST}_count": {"500": 100.0}}):
        windows = [
            replace(one, levels={BREAKERS["upstream"]: {"one": 2.0}})
            for one in seconds_of(trouble, {f"{UPSTREAM}_count": {"two": 9.0}})
        ]
        assert "upstream_away" not in [one.cause for one in judge(windows, profiles()).verdicts]
    windows = [replace(one, levels=levels) for one in seconds_of(SLOW)]
    assert "redis_away" not in [one.cause for one in judge(windows, profiles()).verdicts]


def test_a_breaker_that_is_open_and_missed_by_nobody_is_left_in_peace():
    levels = {metric: {"one": 2.0} for metric in BREAKERS.values()}
    windows = [replace(one, levels=levels) for one in seconds_of()]
    assert judge(windows, profiles()).exit_code == 0


@pytest.mark.parametrize(
    "besides", [SLOW, {"cache_misses_total": 50.0}], ids=["slow elsewhere", "missed, not felt"]
)
def test_a_breaker_that_is_open_is_not_blamed_where_it_was_missed_in_too_few_seconds(besides):
    windows = [
        *seconds_of(besides, workers=1, count=9),
        *seconds_of(SLOW, MISSES, workers=1, count=1, begin=10),
    ]
    levels = {BREAKERS["redis"]: {"cache": 2.0}}
    found = judge([replace(one, levels=levels) for one in windows], profiles()).verdicts
    assert "redis_away" not in [one.cause for one in found]


@pytest.mark.parametrize("breaker", [0.0, 1.0, 2.0])
def test_the_breaker_of_an_upstream_that_nobody_calls_hides_no_slow_one(breaker):
    seen: dict[str, dict[str, float]] = {
        "http_server_request_duration_seconds_count": {"200": 10},
        "http_server_request_duration_seconds_bucket": {"0.25": 0},
        "http_server_request_duration_seconds_sum": {"/r": 10.0},
        "asyncio_eventloop_busy_seconds_total": {"": 0.05},
        "asyncio_eventloop_cpu_seconds_total": {"": 0.05},
        "upstream_request_duration_seconds_sum": {"rates": 9.5},
        "upstream_request_duration_seconds_count": {"rates": 10},
    }
    levels = {"upstream_breaker_state": {"rates": 0.0, "mail": breaker}}
    windows = [Window("0", float(at), 1.0, seen, levels) for at in range(1, 16)]
    assert [verdict.cause for verdict in judge(windows, {}).verdicts] == ["upstream_slow"]
