"""What is decided under `--reload`, where each save asks for new code."""

from dataclasses import replace

import pytest

from servekit.supervisor import events
from tests.supervisor.script import CONFIG, Script, kinds, logged


def test_where_a_save_asks_for_new_code_a_bad_one_is_tried_once():
    script = Script(replace(CONFIG, retries_code=False)).start()
    for generation in (2, 3):
        began = script.tell(events.ReloadAsked())
        assert kinds(began, events.Load) == [events.Load(generation)]
        [failed] = logged(
            script.tell(events.LoadFailed(generation, "SyntaxError")), "reload_failed"
        )
        assert "retry_seconds" not in failed
        later = script.tell(events.TimePassed(), at=script.now + 1000)
        assert kinds(later, events.Load) == []
    loaded = script.tell(events.ReloadAsked(), events.Loaded(4))
    assert kinds(loaded, events.Launch) == [events.Launch(2, 0, 4)]


def test_a_save_while_a_bad_one_is_loaded_is_tried_after_it():
    script = Script(replace(CONFIG, retries_code=False)).start()
    script.tell(events.ReloadAsked(), events.ReloadAsked())
    after = script.tell(events.LoadFailed(2, "SyntaxError"))
    assert kinds(after, events.Load) == [events.Load(3)]


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_save_that_hangs_is_overtaken_by_the_next(first, loaded):
    script = Script(replace(CONFIG, retries_code=False, workers=1))
    hanging = 1 if first else 2
    script.tell(events.TimePassed())
    if not first:
        script.tell(events.Loaded(1), events.Ready(0), events.ReloadAsked())
    if loaded:
        [launch] = kinds(script.tell(events.Loaded(hanging)), events.Launch)
    assert not kinds(script.tell(events.ReloadAsked(), at=4.9), events.Load)
    assert script.decisions.wake_at == 5
    then = script.tell(events.TimePassed(), at=5)
    assert kinds(then, events.Load) == [events.Load(hanging + 1)]
    if loaded:
        assert [kill.worker for kill in kinds(then, events.Kill)] == [launch.worker]
        then += script.tell(events.Exited(launch.worker, -9))
    assert events.Close(hanging) in then
    good = script.tell(events.LoadFailed(hanging, "let go"), events.Loaded(hanging + 1))
    [launch] = kinds(good, events.Launch)
    assert logged(script.tell(events.Ready(launch.worker)), "worker_started")


def test_code_that_saves_itself_while_it_loads_gets_ready_in_the_end():
    script = Script(replace(CONFIG, retries_code=False, workers=1)).start()
    waits = []
    script.tell(events.ReloadAsked())
    for generation in range(2, 5):
        script.tell(events.ReloadAsked())  # by what is loaded
        began = script.now
        overtaking = script.tell(events.TimePassed(), at=script.decisions.wake_at)
        waits.append(script.now - began)
        assert kinds(overtaking, events.Load) == [events.Load(generation + 1)]
    assert waits == [5, 10, 20]
    [launch] = kinds(script.tell(events.Loaded(5)), events.Launch)
    script.tell(events.Ready(launch.worker), events.ReloadAsked(), events.ReloadAsked())
    assert script.decisions.rollout.overtaken_at == script.now + 5


def test_the_next_code_is_begun_on_ahead_while_nothing_starts():
    script = Script(replace(CONFIG, prepares_code=True))
    first = script.tell(events.TimePassed(), events.Loaded(1), events.Ready(0))
    assert not kinds(first, events.Prepare)
    assert kinds(script.tell(events.Ready(1)), events.Prepare)
    bad = script.tell(events.ReloadAsked(), events.TimePassed())
    assert not kinds(bad, events.Prepare)
    assert kinds(script.tell(events.LoadFailed(2, "SyntaxError")), events.Prepare)
    good = script.tell(events.ReloadAsked(), events.Loaded(3), events.Ready(2))
    assert not kinds(good, events.Prepare)
    assert len(kinds(script.tell(events.Ready(3), events.Exited(0, 0)), events.Prepare)) == 1
