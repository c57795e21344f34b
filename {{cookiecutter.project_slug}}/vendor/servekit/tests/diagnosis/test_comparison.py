"""Two reports side by side: what went, what came, and what the figures were."""

import json

import pytest

from servekit.diagnosis.comparison import compare, read_report
from servekit.diagnosis.judgement import document
from servekit.diagnosis.readings import LOOP_CPU, STALLED
from tests.diagnosis.windows import SLOW, profiles, seconds_of

BUSY = {STALLED: 0.5, "asyncio_eventloop_busy_seconds_total": 0.9}
COMPUTES = {**SLOW, **BUSY, LOOP_CPU: 0.8}
WAITS = {**SLOW, **BUSY, LOOP_CPU: 0.1}


def report(*deltas):
    sampled = {"wanted": {"seconds": 10}, "failures": []}
    seen = document(seconds_of(*deltas), profiles(), complete=True, sampled=sampled)
    return json.loads(json.dumps(seen))


def test_a_cause_that_was_mended_is_gone_and_one_that_came_is_new():
    told = list(compare(report(COMPUTES), report(WAITS)))
    assert told[0].startswith("A call that waits blocks the event loop: new, now ")
    assert told[1].startswith("Computation keeps the event loop: gone, was ")
    assert "event loop stood still: 50.0% -> 50.0%" in told


def test_a_cause_that_a_shorter_report_does_not_see_is_not_called_gone():
    short = report()
    short["windows"] = [window for window in short["windows"] if window["at"] <= 5]
    told = list(compare(report(COMPUTES), short))
    assert told[0].startswith("Computation keeps the event loop: not seen in 5 s, was ")
    assert told[1] == "sampled for 10 and 5 s: compare reports of the same length"


def test_what_stayed_is_told_with_both_shares():
    [stayed, *figures] = compare(report(COMPUTES), report(COMPUTES))
    assert stayed.startswith("Computation keeps the event loop: was ")
    assert ", now " in stayed
    assert "requests slow: 80.0% -> 80.0%" in figures
    assert "requests a second: 200 -> 200" in figures


def test_a_healthy_service_is_told_by_its_figures_alone():
    told = list(compare(report(), report()))
    assert told[0] == "event loop stood still: 0.0% -> 0.0%"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file or directory"),
        ("nothing", "no doctor's report"),
        ("{}", "this is no report of version 1"),
        ('{"schema_version": 1}', "no doctor's report"),
        ('{"schema_version": 1, "profiles": [], "windows": []}', "no doctor's report"),
        ("[]", "no doctor's report"),
    ],
)
def test_what_is_no_report_is_refused_by_name(text, why, tmp_path):
    file = tmp_path / "before.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=f"before.json: {why}"):
        read_report(str(file))
