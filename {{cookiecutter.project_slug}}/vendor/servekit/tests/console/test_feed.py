import asyncio
import contextlib
import json
from types import SimpleNamespace
from typing import Any

import pytest

from servekit import background
from servekit.console import feed as module
from servekit.console.feed import WINDOW, Feed
from servekit.console.journal import Journal
from servekit.testing import patience

TOTALS = {"durations": {"0.1": 0, "+Inf": 0}, "caches": {}, "pools": {}, "running": []}


class Worker:
    """A worker that counts how often it is asked, and answers unless it is blocked."""

    def __init__(self, number):
        self.number = self.slot = number
        self.pid = 100 + number
        self.history = []
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()

    async def call(self, command, seconds):
        assert command == "vitals"
        self.asked += 1
        await self.free.wait()
        running = [{"method": "GET", "route": "/", "path": "/", "seconds": 1, "place": ""}] * 20
        return json.dumps(TOTALS | {"running": running}).encode()


class View:
    ready, stopping, wanted = True, False, 2

    def __init__(self):
        self.serving = {number: Worker(number) for number in range(2)}

    def workers(self, *, pss):
        assert not pss, "it takes the kernel milliseconds"
        rows = [{"slot": each.slot, "pid": each.pid} for each in self.serving.values()]
        return [{**row, "state": "ready", "restarts": {}} for row in rows]

    def reload_state(self):
        return {}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)


@pytest.fixture
async def looked_at():
    view, journal = View(), Journal()
    anything: Any = view  # as far as a feed asks
    async with Feed(anything, journal, {"name": "shop"}) as feed:
        yield SimpleNamespace(view=view, journal=journal, feed=feed)


async def documents(lines, count):
    async with asyncio.timeout(patience(5)):
        return [json.loads(await anext(lines)) for _ in range(count)]


async def test_a_stream_begins_with_the_name_and_goes_on_with_what_there_is(looked_at):
    looked_at.journal.add({"event": "worker_ended"})
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        first, second, third = await documents(lines, 3)
    assert first["about"] == {"name": "shop"}
    assert [row["slot"] for row in second["workers"]] == [0, 1]
    assert [event["event"] for event in second["events"]] == ["worker_ended"]
    assert third["events"] == []
    assert len(second["running"]) == module.RUNNING_MAX


async def test_workers_are_asked_once_for_all_viewers_and_not_at_all_without_one(looked_at):
    feed, worker = looked_at.feed, looked_at.view.serving[0]
    await asyncio.sleep(0.05)
    assert worker.asked == 0
    async with contextlib.aclosing(feed.lines()) as one, contextlib.aclosing(feed.lines()) as other:
        await documents(one, 2)
        asked = worker.asked
        await documents(other, 5)
        assert worker.asked - asked <= 6
        assert feed.viewers == 2
    assert feed.viewers == 0
    async with asyncio.timeout(patience(5)):
        await feed._sampling
    asked = worker.asked
    await asyncio.sleep(0.05)
    assert worker.asked == asked
    assert feed._readings == {}


async def test_a_blocked_worker_is_asked_once_and_keeps_nobody_waiting(looked_at):
    blocked = looked_at.view.serving[0]
    blocked.free.clear()
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        *_, last = await documents(lines, 10)
        assert [row["answers"] for row in last["workers"]] == [False, True]
        assert blocked.asked == 1
        blocked.free.set()
        *_, last = await documents(lines, 5)
        assert [row["answers"] for row in last["workers"]] == [True, True]


async def test_a_slow_viewer_gets_the_newest_and_every_event(looked_at):
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        *_, before = await documents(lines, 2)
        for number in range(30):
            looked_at.journal.add({"event": str(number)})
            await asyncio.sleep(0.01)
        [after] = await documents(lines, 1)
    assert after["at"] - before["at"] > 0.2
    assert [event["event"] for event in after["events"]] == [str(each) for each in range(30)]


async def test_what_is_kept_of_a_worker_is_bounded_and_goes_with_it(looked_at):
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        await documents(lines, 3 * WINDOW)
        assert {len(kept) for kept in looked_at.feed._readings.values()} == {WINDOW + 1}
        del looked_at.view.serving[0]
        await documents(lines, 3)
        assert list(looked_at.feed._readings) == [1]


async def test_streams_end_when_the_service_does(looked_at):
    lines = looked_at.feed.lines()
    await documents(lines, 2)
    await looked_at.feed.__aexit__()
    async with asyncio.timeout(patience(5)):
        assert [json.loads(line)["ready"] async for line in lines] in ([], [True])


async def test_a_worker_that_ends_this_moment_does_not_end_the_stream(looked_at, monkeypatch):
    rows = looked_at.view.workers(pss=False)
    monkeypatch.setattr(looked_at.view, "workers", lambda pss: rows[:1])
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        *_, last = await documents(lines, 3)
    assert [row["slot"] for row in last["workers"]] == [0]


async def test_a_reading_that_fails_is_tried_again(looked_at, monkeypatch):
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    failures = iter([RuntimeError("once")])

    def reload_state():
        for error in failures:
            raise error
        return {"current": 1}

    monkeypatch.setattr(looked_at.view, "reload_state", reload_state)
    async with contextlib.aclosing(looked_at.feed.lines()) as lines:
        _, first = await documents(lines, 2)
    assert first["reload"] == {"current": 1}
