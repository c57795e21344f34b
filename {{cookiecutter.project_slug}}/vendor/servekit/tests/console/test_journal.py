import json
from datetime import UTC, datetime
from pathlib import Path

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
