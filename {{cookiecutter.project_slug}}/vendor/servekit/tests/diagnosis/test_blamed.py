"""Routes and callers that a verdict names are those of the cause, not of its victims."""

from collections import Counter
from dataclasses import replace

from servekit.diagnosis.judgement import judge
from servekit.diagnosis.remedies import TITLES
from servekit.diagnosis.stacks import Frame, Profile
from tests.diagnosis.test_causes import BLOCKED, CPU, FOUND
from tests.diagnosis.windows import SPOT, held, profiles, seconds_of

HOT = "pay /srv/shop/orders.py:12 (100% of the busy samples)"


def test_the_route_of_threads_that_hold_the_interpreter_is_not_that_of_their_victim():
    waits: Counter[tuple[Frame, ...]] = Counter(
        {
            (Frame("/guess"), Frame("run_sync", "/x/site-packages/anyio/to_thread.py", 9)): 900,
            (Frame("/zones"), Frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 9)): 950,
        }
    )
    seen = {name: replace(one, waits=waits) for name, one in held(profiles(), 50).items()}
    blocked = {"asyncio_eventloop_blocked_total": {"/zones": 5.0}}
    [verdict] = judge(seconds_of(BLOCKED, {CPU: 1.2}, blocked), seen).verdicts
    assert (verdict.cause, verdict.route) == ("gil_contention", "/guess")


def test_what_is_named_is_not_ruled_out_by_another():
    windows = [
        *seconds_of(BLOCKED, count=6),
        *seconds_of(FOUND["cpu_on_loop"][0], count=6, begin=7),
    ]
    found = judge(windows, profiles()).verdicts
    assert {verdict.cause for verdict in found} == {"blocking_call", "cpu_on_loop"}
    ruled_out = {text.partition(":")[0] for verdict in found for text in verdict.ruled_out}
    assert ruled_out
    assert not ruled_out & {TITLES[verdict.cause] for verdict in found}


def test_who_calls_what_keeps_a_loop_is_told_where_one_way_leads_to_most():
    loop = Frame("run", "/x/site-packages/loop.py", 1)
    route, other = Frame("route", "/srv/shop/a.py", 3), Frame("other", "/srv/shop/a.py", 9)
    validator = Frame("Address.known", "/srv/shop/b.py", 5)
    busy = Profile()
    busy.stacks[loop, route, loop, validator, SPOT] = 80
    busy.stacks[loop, other, SPOT] = 20
    [verdict] = judge(seconds_of(BLOCKED), {"0": busy, "1": busy}).verdicts
    assert verdict.places == (
        f"{HOT}, called by route /srv/shop/a.py:3 -> Address.known /srv/shop/b.py:5",
    )
    busy.stacks[loop, other, SPOT] = 200
    busy.stacks[loop, SPOT] = 200
    [verdict] = judge(seconds_of(BLOCKED), {"0": busy, "1": busy}).verdicts
    assert verdict.places == (HOT,)


def test_functions_of_the_same_name_have_callers_of_their_own():
    hot, warm = Frame("index", "/srv/shop/a.py", 3), Frame("index", "/srv/shop/b.py", 4)
    busy = Profile()
    busy.stacks[Frame("one", "/srv/shop/c.py", 1), hot] = 60
    busy.stacks[Frame("two", "/srv/shop/c.py", 9), warm] = 40
    [verdict] = judge(seconds_of(BLOCKED), {"0": busy, "1": busy}).verdicts
    assert verdict.places == (
        "index /srv/shop/a.py:3 (60% of the busy samples), called by one /srv/shop/c.py:1",
        "index /srv/shop/b.py:4 (40% of the busy samples), called by two /srv/shop/c.py:9",
    )
