"""Whatever happens to workers and their code: what is wanted comes back, or the log says why."""

from dataclasses import replace

import pytest

from servekit.supervisor import events
from servekit.supervisor.decisions import Decisions
from servekit.supervisor.program import SupervisorConfig
from tests.supervisor.script import CONFIG, Script, kinds, logged


def test_a_reload_replaces_one_worker_first_and_the_others_when_that_one_is_ready():
    script = Script().start()
    assert kinds(script.tell(events.ReloadAsked()), events.Load) == [events.Load(2)]
    assert kinds(script.tell(events.Loaded(2)), events.Launch) == [events.Launch(2, 0, 2)]
    first = script.tell(events.Ready(2))
    assert [drain.worker for drain in kinds(first, events.Drain)] == [0]
    assert kinds(first, events.Launch) == [events.Launch(3, 1, 2)]  # it waits for no drain
    assert [drain.worker for drain in kinds(script.tell(events.Ready(3)), events.Drain)] == [1]
    assert not logged(script.tell(events.Exited(0, 0)), "reload_done")
    last = script.tell(events.Exited(1, 0))
    assert logged(last, "reload_done")
    assert events.Close(1) in last


def test_reloads_that_are_asked_for_too_fast_are_one_more_after_the_one_under_way():
    script = Script().start()
    asked = [script.tell(events.ReloadAsked(), at=float(second)) for second in range(6)]
    assert [kinds(actions, events.Load) for actions in asked] == [
        [events.Load(2)],
        [],
        [],
        [],
        [],
        [],
    ]
    script.tell(events.Loaded(2), events.Ready(2))
    assert kinds(script.tell(events.Ready(3)), events.Load) == [events.Load(3)]


def test_a_half_failed_reload_goes_on_where_it_failed():
    script = Script().start()
    script.tell(events.ReloadAsked(), events.Loaded(2), events.Ready(2))
    failed = script.tell(events.StartFailed(3, "no connection left"))
    assert logged(failed, "reload_failed")[0]["reason"] == "no connection left"
    again = script.tell(events.TimePassed(), at=1)
    assert kinds(again, events.Launch) == [events.Launch(4, 1, 2)]
    assert not kinds(script.done, events.Load)[2:]


@pytest.mark.parametrize("repaired", [True, False])
def test_where_the_code_does_not_start_any_more_newer_code_is_tried(repaired):
    script = Script(replace(CONFIG, workers=1))
    script.tell(events.TimePassed(), events.Loaded(1), events.Ready(0))
    [ended] = logged(script.tell(events.Exited(0, 1), events.TimePassed()), "worker_ended")
    assert ended["retry_seconds"] == 0
    [failed] = logged(script.tell(events.StartFailed(1, "a password")), "worker_start_failed")
    script.tell(events.Exited(1, 1), events.ReloadAsked(), events.Loaded(2))
    next_try = script.tell(events.TimePassed(), at=script.now + failed["retry_seconds"] + 1)
    assert kinds(next_try, events.Launch) == [events.Launch(2, 0, 2)]
    if repaired:
        assert logged(script.tell(events.Ready(2)), "worker_started")
        return
    assert logged(script.tell(events.StartFailed(2, "worse")), "reload_failed")
    again = script.tell(events.Exited(2, 1), events.TimePassed(), at=script.now + 60)
    assert kinds(again, events.Launch)[0] == events.Launch(3, 0, 1)


def test_a_second_stop_forces_only_when_it_cannot_be_the_same_signal():
    script = Script().start()
    assert len(kinds(script.tell(events.StopAsked(), at=10), events.Drain)) == 2
    assert script.tell(events.StopAsked(), at=11.9) == []
    forced = kinds(script.tell(events.StopAsked(), at=12.1), events.Kill)
    assert {kill.why for kill in forced} == {"worker_forced"}
    assert script.tell(events.Exited(0, -9), events.Exited(1, -9))[-1] == events.End(1)


def test_a_worker_that_is_told_to_end_by_others_is_replaced_when_it_begins_to():
    script = Script().start()
    assert kinds(script.tell(events.Draining(1)), events.Launch) == [events.Launch(2, 1, 1)]


def test_a_long_start_before_a_crash_does_not_count_as_a_long_life():
    script = Script(SupervisorConfig(program="any:thing", workers=1))
    script.tell(events.TimePassed(), events.Loaded(1))
    script.tell(events.Ready(0), at=50)
    waits = []
    for worker in range(4):
        [ended] = logged(script.tell(events.Exited(worker, 1)), "worker_ended")
        slot = script.decisions.roster.slots[0]
        waits.append(slot.retry_at - script.now)
        assert ended["retry_seconds"] == round(waits[-1], 1)
        script.tell(events.TimePassed(), at=slot.retry_at)
        script.tell(events.Ready(worker + 1), at=script.now + 50)
    assert waits == sorted(waits)
    assert waits[-1] > 0.5


def test_a_limit_below_a_fresh_worker_recycles_ever_more_rarely():
    script = Script().start()
    waits = []
    worker = 0
    for _ in range(4):
        script.tell(events.Aged(worker, "rss"))
        slot = script.decisions.roster.slots[0]
        waits.append(max(slot.recycle_at - script.now, 0))
        launched = kinds(script.tell(events.TimePassed(), at=script.now + waits[-1]), events.Launch)
        worker = (launched or kinds(script.done, events.Launch))[-1].worker
        script.tell(events.Ready(worker), at=script.now + 1)
    assert waits[0] == 0
    assert waits[1] > 10
    assert waits == sorted(waits)
    assert logged(script.done, "recycle_postponed")


def test_a_lost_zygote_brings_one_new_generation_for_all_workers():
    script = Script().start()
    assert not script.tell(events.LauncherLost(1))
    assert kinds(script.tell(events.TimePassed(), at=1), events.Load) == [events.Load(2)]


FAILS_TO_START = ("start_failed", "worker_start_failed")


def told(script):
    """The reasons of failed starts as the log tells them."""
    return [
        (action.event, action.facts["reason"])
        for action in kinds(script.done, events.Log)
        if action.event in FAILS_TO_START
    ]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_why_a_service_does_not_start_is_told_once_however_many_workers_tried(workers):
    script = Script(SupervisorConfig(program="any:thing", workers=workers))
    script.tell(events.TimePassed(), events.Loaded(1))
    for number in range(workers):
        script.tell(events.StartFailed(number, "a wrong setting", "its trace"))
    for number in range(workers):
        script.tell(events.Exited(number, 1))

    assert told(script) == [("start_failed", "a wrong setting")]


def test_another_reason_is_told_of_each_worker_that_has_it():
    script = Script(SupervisorConfig(program="any:thing", workers=4))
    script.tell(events.TimePassed(), events.Loaded(1))
    for number in range(4):
        script.tell(events.StartFailed(number, "one" if number % 2 else "another"))

    other = ("worker_start_failed", "another")
    assert sorted(told(script)) == [("start_failed", "one"), other, other]


@pytest.mark.parametrize("then", [events.Ready(1), events.StopAsked()])
def test_a_worker_that_does_not_start_is_told_of_when_another_does_or_nobody_waits(then):
    script = Script()
    script.tell(events.TimePassed(), events.Loaded(1), events.StartFailed(0, "its own"), then)

    assert told(script) == [("worker_start_failed", "its own")]


def test_a_start_ends_when_the_slot_of_the_last_worker_that_tries_goes():
    script = Script()
    script.tell(events.TimePassed(), events.Loaded(1), events.StartFailed(0, "a wrong setting"))
    script.tell(events.Exited(0, 1), events.ScaleAsked(1), events.Exited(1, -9))

    assert told(script) == [("start_failed", "a wrong setting")]


def test_a_failure_is_that_of_the_code_that_failed_though_newer_was_asked_for():
    decisions, now = Decisions(SupervisorConfig(program="x", workers=2)), 0.0

    def tell(event, seconds=0.01):
        nonlocal now
        now += seconds
        return [each for each in decisions.handle(event, now) if isinstance(each, events.Launch)]

    def fail(launch):
        tell(events.StartFailed(launch.worker, "the fault of the second"))
        return tell(events.Exited(launch.worker, 1))

    tell(events.TimePassed())
    first = tell(events.Loaded(1))
    for each in first:
        tell(events.Ready(each.worker))
    tell(events.ReloadAsked())
    [one] = tell(events.Loaded(2))
    [two] = tell(events.Ready(one.worker))
    tell(events.Exited(first[0].worker, 0))
    fail(two)
    assert decisions.rollout.state["failure"]["generation"] == 2
    tell(events.ReloadAsked())
    asked = decisions.rollout.state["asked"]
    assert asked == 3
    for again in tell(events.TimePassed(), 5):
        fail(again)
    assert decisions.rollout.state["failure"]["generation"] == 2
