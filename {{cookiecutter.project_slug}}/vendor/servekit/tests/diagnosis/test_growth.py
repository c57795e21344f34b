"""What grows without an end is found; what fills up or follows the traffic is not."""

from collections import Counter
from dataclasses import replace

import pytest

from servekit.diagnosis.causes.growth import NOBODY
from servekit.diagnosis.judgement import judge
from servekit.diagnosis.readings import TASKS
from servekit.diagnosis.stacks import Frame
from tests.diagnosis.test_causes import HITS, MISSES
from tests.diagnosis.windows import Deltas, growing, profiles, seconds_of

RISING = {second: 100.0 + 12 * second for second in range(1, 11)}
FILLING_UP = {second: min(140.0, 100.0 + 12 * second) for second in range(1, 11)}
SAWTOOTH = {second: 100.0 + 30 * (second % 3) for second in range(1, 11)}
GROWTH = {
    "task_leak": (TASKS, 1, "forget"),
    "file_leak": ("process_open_fds", 1, ""),
    "memory_growth": ("process_resident_memory_bytes", 2**20, ""),
}


@pytest.mark.parametrize(
    ("amounts", "found"), [(RISING, True), (FILLING_UP, False), (SAWTOOTH, False)]
)
@pytest.mark.parametrize("cause", GROWTH)
def test_growth_needs_no_symptom_and_must_go_on(cause, amounts, found):
    metric, factor, label = GROWTH[cause]
    scaled = scaled_to(factor, amounts)
    judged = judge(growing(seconds_of(), metric, scaled, label), profiles())
    assert [verdict.cause for verdict in judged.verdicts] == ([cause] if found else [])
    assert judged.exit_code == found


@pytest.mark.parametrize("cause", GROWTH)
@pytest.mark.parametrize("traffic", ["worker_connections", "http_server_active_requests"])
def test_what_grows_with_the_traffic_is_no_leak(cause, traffic):
    metric, factor, label = GROWTH[cause]
    scaled = scaled_to(factor)
    windows = growing(growing(seconds_of(), metric, scaled, label), traffic, RISING)
    assert judge(windows, profiles()).verdicts == ()


def test_the_traffic_beside_growth_is_told_by_worker():
    windows = growing(seconds_of(), TASKS, RISING, "forget")
    windows = [
        replace(one, levels={**one.levels, "worker_connections": {"": connections}})
        for one in windows
        for connections in [3.0 if one.worker == "0" else 40.0]
    ]
    [verdict] = judge(windows, profiles()).verdicts
    assert verdict.ruled_out[0].startswith("Traffic: 0 connections")


def test_a_cache_that_fills_is_no_growth_of_memory():
    windows = growing(seconds_of(), "process_resident_memory_bytes", scaled_to(2**20))
    windows = growing(windows, "cache_local_size_bytes", scaled_to(2**20))
    assert judge(windows, profiles()).verdicts == ()


def scaled_to(factor, amounts=RISING):
    return {second: amount * factor for second, amount in amounts.items()}


@pytest.mark.parametrize("holders", [None, [], ["shop.SEEN shop.py:3 (+9 MiB in 10 s: -> dict)"]])
def test_who_holds_memory_that_grows_is_told_if_it_was_asked_and_if_nobody_does(holders):
    windows = growing(seconds_of(), "process_resident_memory_bytes", scaled_to(2**20))
    [verdict] = judge(windows, profiles(), memory_holders=holders).verdicts
    assert verdict.places == tuple(holders or ())
    assert verdict.ruled_out[2:] == ((NOBODY,) if holders == [] else ())


def test_memory_that_large_requests_take_and_give_back_is_no_growth():
    megabytes = dict(enumerate([219, 220, 222, 262, 233, 237, 276, 243], 1))
    windows = growing(
        seconds_of(count=8), "process_resident_memory_bytes", scaled_to(2**20, megabytes)
    )
    assert judge(windows, profiles()).verdicts == ()


def test_a_peak_at_the_beginning_makes_growth_no_loss():
    jagged = {**RISING, 1: 400.0}
    [verdict] = judge(growing(seconds_of(), TASKS, jagged, "forget"), profiles()).verdicts
    assert 0 < verdict.share <= 1
    assert " -" not in verdict.sentence


def test_a_worker_that_grows_by_half_as_much_is_told_with_the_one_that_shows_it():
    slowly = {second: 100.0 + 0.8 * second for second in range(1, 11)}
    metric = "process_resident_memory_bytes"
    both = [
        one
        for worker, amounts in (("0", slowly), ("1", RISING))
        for one in growing(seconds_of(), metric, scaled_to(2**20, amounts))
        if one.worker == worker
    ]
    [verdict] = judge(both, profiles()).verdicts
    assert verdict.workers == ("0", "1")
    alone = growing(seconds_of(), metric, scaled_to(2**20, slowly))
    assert judge(alone, profiles()).verdicts == ()


def test_a_leaking_task_is_told_with_where_its_coroutine_begins():
    forget = Frame("forget", "/srv/shop/mail.py", 30)
    sampled = {name: replace(one, tasks=Counter({forget: 9})) for name, one in profiles().items()}
    [verdict] = judge(growing(seconds_of(), TASKS, RISING, "forget"), sampled).verdicts
    assert verdict.places == ("forget /srv/shop/mail.py:30",)
    # 12 a second in each of two workers, which answer 100 requests a second.
    assert verdict.sentence.partition(": ")[2] == (
        "216 tasks of forget more in 9 s in workers 0, 1, 440 at the end, 0.12 tasks a request"
    )


def test_the_line_that_starts_a_leaking_task_is_told_where_the_source_is_at_hand():
    forget = Frame("Mail.forget", "/srv/shop/mail.py", 30)
    sampled = {name: replace(one, tasks=Counter({forget: 9})) for name, one in profiles().items()}
    source = {"started": {"Mail.forget": ["/srv/shop/mail.py:9"]}}
    windows = growing(seconds_of(), TASKS, RISING, "Mail.forget")
    [verdict] = judge(windows, sampled, source=source).verdicts
    assert verdict.places == ("Mail.forget /srv/shop/mail.py:30, started at /srv/shop/mail.py:9",)


FILLING: Deltas = {
    **MISSES,
    "cache_hits_total": {"local": 40.0, "redis": 40.0},
    "cache_misses_total": {"local": 160.0, "redis": 120.0},
}


@pytest.mark.parametrize("later", [HITS, FILLING])
def test_a_cache_that_fills_is_not_blamed(later):
    windows = [*seconds_of(MISSES, count=5), *seconds_of(later, count=5, begin=6)]
    assert judge(windows, profiles()).verdicts == ()
