"""Whatever the counters say: shares add up, silence without a symptom, and JSON holds it all."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from servekit.diagnosis.evidence import Verdict
from servekit.diagnosis.judgement import document, judge, judge_again, told
from servekit.diagnosis.readings import KEPT, LOOP_CPU, REQUEST, STALLED, STATEMENT, Window
from servekit.diagnosis.remedies import not_judged
from servekit.diagnosis.report import details, page, summary, traffic, within
from servekit.diagnosis.shares import stall_shares, wait_shares
from servekit.diagnosis.stacks import Frame, Profile
from tests.diagnosis.windows import profiles

SECONDS = st.floats(0, 3)
COUNTS = st.floats(0, 500)
LABELS = {"le": ["0.25", "+Inf"], "status": ["200", "500", "404"]}

WANTED = {"seconds": 9, "base": "http://a", "requests": [["GET", "/"]]}


def growth(name: str) -> st.SearchStrategy[dict[str, float]]:
    """What a counter may grow by: seconds or counts, by its label."""
    amount = COUNTS if name.endswith(("_count", "_bucket")) else SECONDS
    labels = LABELS.get(KEPT[name], ["a", "b"]) if KEPT[name] else [""]
    return st.dictionaries(st.sampled_from(labels), amount, max_size=len(labels))


DELTAS = st.fixed_dictionaries({}, optional={name: growth(name) for name in KEPT})
WINDOWS = st.builds(
    Window, st.sampled_from("01"), st.integers(1, 10).map(float), st.floats(0.5, 3), DELTAS
)
STACKS = st.dictionaries(
    st.builds(Frame, st.sampled_from(["pay", "dumps"]), st.sampled_from(["/srv/a.py", "/srv/b.py"]))
    .map(lambda frame: (frame,)),
    st.integers(1, 99),
    max_size=3,
)  # fmt: skip


@st.composite
def seen(draw) -> tuple[list[Window], dict[str, Profile]]:
    """Bad luck is drawn once and lasts, so that causes are confirmed."""
    lasting = draw(st.lists(WINDOWS, min_size=1, max_size=3))
    windows = [
        replace(window, at=float(at), worker=worker)
        for at in range(1, draw(st.integers(5, 8)))
        for worker, window in zip("01", lasting, strict=False)
    ]
    profile = Profile()
    profile.stacks.update(draw(STACKS))
    return windows + draw(st.lists(WINDOWS, max_size=3)), {"0": profile}


@given(seen())
def test_shares_never_exceed_the_whole(seen):
    verdicts = judge(*seen).verdicts
    sums: dict[str, float] = defaultdict(float)
    for verdict in verdicts:
        assert 0 <= verdict.share <= 1 + 1e-9
        assert 1 <= verdict.score <= 100
        assert set(verdict.workers) <= {"0", "1"}
        sums[verdict.share_of] += verdict.share

    assert sums["stalled seconds"] <= 1 + 1e-9
    assert sums["request seconds"] <= 1 + 1e-9


def test_next_to_no_request_is_no_error():
    """Counters are read one after the other, while they grow."""
    nothing = {"200": 5e-324}
    deltas = {f"{STATEMENT}_count": {"": 1.0}, f"{REQUEST}_count": nothing}
    windows = [Window("0", float(at), 1.0, deltas) for at in range(1, 6)]
    [verdict] = judge(windows, {}).verdicts
    assert (verdict.score, verdict.share) == (100, 0)


@given(WINDOWS)
def test_a_second_is_shared_out_once(window):
    for shares, budget in (
        (stall_shares(window), window.stalled),
        (wait_shares(window), window.total(f"{REQUEST}_sum")),
    ):
        assert min(shares.values()) >= 0
        assert sum(shares.values()) <= budget + 1e-9


@given(seen())
def test_without_a_symptom_there_is_no_verdict(seen):
    windows = [at_ease(window) for window in seen[0]]
    assert judge(windows, seen[1]).verdicts == ()


def at_ease(window: Window) -> Window:
    """Return the same second as clients would not have felt it."""
    kept = {
        name: series
        for name, series in window.deltas.items()
        if name not in (STALLED, "http_requests_shed_total") and not name.startswith(REQUEST)
    }
    return replace(
        window,
        deltas=kept
        | {
            f"{REQUEST}_count": {"200": 50.0},
            f"{REQUEST}_bucket": {"0.25": 50.0},
            f"{REQUEST}_sum": {"/": 2.0},
        },
    )


@given(seen())
def test_what_is_written_is_judged_again_alike(seen):
    written = document(*seen, complete=True, sampled={"wanted": WANTED, "failures": []})
    read = json.loads(json.dumps(written))

    judged = judge(*seen)
    assert judge_again(read) == judged
    assert read["exit_code"] == judged.exit_code
    for verdict in judged.verdicts:
        assert verdict.sentence in summary(read)


def test_where_the_kernel_does_not_tell_who_ran_no_code_is_blamed():
    deltas = {STALLED: {"": 0.9}, "asyncio_eventloop_busy_seconds_total": {"": 1.0}}
    windows = [Window("0", float(at), 1.0, deltas) for at in range(1, 9)]
    assert LOOP_CPU not in deltas
    seen = judge(windows, profiles())
    assert (seen.verdicts, seen.exit_code) == ((), 2)


def test_a_report_says_which_growth_its_seconds_are_too_few_for():
    assert "less than 32 MiB a minute in a worker: 15 s are too short" in not_judged(15)
    assert "--seconds 100" in not_judged(15)
    assert "--seconds" not in not_judged(100)


def test_what_rules_out_several_causes_is_said_once_and_places_with_each():
    texts = dict.fromkeys(("sentence", "score", "route", "fix", "next"), "")
    verdict = texts | {"places": ["f a.py:1"], "source": {}, "ruled_out": ["Traffic", "Garbage"]}
    read = {"verdicts": [verdict, verdict], "cannot_judge": [], "not_judged": "", "windows": []}
    text = summary(read | {"sampled": {"failures": []}})
    assert text.count("ruled out: Traffic") == text.count("ruled out: Garbage") == 1
    assert text.count("at f a.py:1") == 2


def test_what_clients_got_is_told_whatever_is_found():
    buckets = {"0.05": 120.0, "0.25": 196.0, "0.5": 198.0, "10.0": 198.0, "+Inf": 200.0}
    deltas = {
        f"{REQUEST}_bucket": buckets,
        f"{REQUEST}_count": {"200": 197.0, "503": 3.0},
        "http_requests_shed_total": {"event_loop_lag": 4.0},
    }
    windows = [Window(worker, 1.0, 1.0, deltas) for worker in "01"]
    assert traffic(windows, 1) == (
        "traffic: 400 requests, 400 a second, 50% in at most 0.05 s, 99% in at most 0.5 s "
        "(bounds of the histogram), 1.5% failed, 8 more were refused by the overload check (503)"
    )
    assert within(windows, 0.999) == "above 10.0 s"
    assert traffic([], 1).startswith("traffic: 0 requests")


def test_counters_of_a_part_of_the_time_are_said_to_be_such():
    windows = [Window(worker, 2.0, 2.0, {}) for worker in "01"]
    assert "counted in" not in traffic(windows, 2)
    assert "as counted in 2 of 12 s: a worker that stands still" in traffic(windows, 12)


def test_what_was_seen_until_somebody_ended_it_is_told_of_that_time():
    windows = [Window(worker, float(at), 1.0, {}) for at in (1, 2) for worker in "01"]
    sampled = {"wanted": WANTED, "failures": [], "load": {"200": 5}}
    cut = summary(document(windows, {}, complete=False, sampled=sampled))
    assert "traffic: 0 requests" in cut
    assert "counted in" not in cut
    assert "own load of http://a /, cut, ended with: 5 x 200" in cut
    whole = summary(document(windows, {}, complete=True, sampled=sampled))
    assert "as counted in 2 of 9 s" in whole.replace("\n ", "")
    assert "own load of http://a /, 10 s long, ended with" in whole


def test_a_line_of_the_source_is_shown_below_its_place_if_the_file_is_here(tmp_path, monkeypatch):
    (tmp_path / "shop.py").write_text("async def pay():\n    async with ledger:\n        ...\n")
    monkeypatch.chdir(tmp_path)
    verdict = Verdict(
        "lock_wait", 50, 1, "request seconds", ("0",), "", ("f gone.py:1 -> pay shop.py:2 (9%)",)
    )
    assert list(details(told(verdict, "http://a:1"))) == [
        "at f gone.py:1 -> pay shop.py:2 (9%)",
        "   2 | async with ledger:",
    ]


def test_a_report_of_another_version_is_refused():
    with pytest.raises(ValueError, match="no report of version"):
        judge_again({"schema_version": 99})


def test_names_in_the_page_are_text():
    evil = Frame("<script>alert(1)</script>", "/srv/a.py", 3)
    deltas = {STALLED: {"": 0.9}, "asyncio_eventloop_busy_seconds_total": {"": 1.0}, LOOP_CPU: {}}
    windows = [Window("<b>", float(at), 1.0, deltas) for at in range(1, 9)]
    sampled = {"<b>": profiles({evil: 50})["0"]}
    told = {"wanted": WANTED, "failures": ["<i>"], "load": {"<u>": 1}}
    text = page(document(windows, sampled, complete=True, sampled=told), sampled)

    assert "&lt;script&gt;alert(1)" in text
    assert "A call that waits blocks the event loop" in text
    assert not any(tag in text for tag in ("<script>alert", "<b>", "<i>", "<u>"))
