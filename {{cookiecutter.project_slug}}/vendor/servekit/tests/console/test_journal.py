import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servekit.console import journal
from servekit.console.journal import DETAIL_CHARACTERS, ENTRIES, EVENTS, Journal, entry_of

SOURCE = Path(__file__).parents[2] / "src"


def test_every_event_that_is_noted_is_one_that_is_logged():
    code = "\n".join(file.read_text() for file in SOURCE.rglob("*.py") if file.name != "journal.py")
    assert [event for event in EVENTS if f'"{event}"' not in code] == []


def test_it_keeps_the_last_events_and_their_numbers_go_on():
    journal = Journal()
    for number in range(ENTRIES + 5):
        journal.add({"event": str(number)})
    assert [len(journal.since(0)), journal.since(0)[-1]["number"]] == [ENTRIES, ENTRIES + 5]
    assert [entry["event"] for entry in journal.since(ENTRIES + 3)] == ["203", "204"]


def test_an_entry_is_small_text_whatever_was_logged():
    at = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {"timestamp": at, "level": "error", "event": "worker_hung", "worker": 3}
    odd = {"stacks": "x" * 10_000, "reason": "y" * 10_000, "thing": object(), "nothing": None}
    entry = entry_of(fields | odd | {str(number): number for number in range(1000)})
    assert (entry["at"], entry["worker"]) == (at.timestamp(), 3)
    assert entry["detail"].startswith("reason=yyy")
    assert len(entry["detail"]) <= DETAIL_CHARACTERS
    assert len(json.dumps(entry)) < 1000


def test_what_the_log_has_of_each_request_is_noted_now_and_then(monkeypatch):
    now = [100.0]
    told: list[dict[str, Any]] = []
    listeners: list[Any] = []
    monkeypatch.setattr(journal, "listeners", listeners)
    monkeypatch.setattr(journal, "monotonic", lambda: now[0])
    journal.note_events(told.append)
    [look] = listeners
    fields = {"timestamp": datetime(2026, 1, 2, tzinfo=UTC), "level": "warning"}
    for at in (100.0, 101.0, 109.0, 110.0):
        now[0] = at
        look(fields | {"event": "request_deadline_exceeded"})
        look(fields | {"event": "host_refused"})
        look(fields | {"event": "http_request"})
    assert [entry["event"] for entry in told].count("request_deadline_exceeded") == 2
    assert [entry["event"] for entry in told].count("host_refused") == 4
    assert len(told) == 6
