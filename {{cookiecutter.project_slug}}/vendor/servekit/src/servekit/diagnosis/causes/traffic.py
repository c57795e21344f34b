"""What the traffic itself does: too much of it, at one worker, past the cache, in small pieces."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.loop import CODE, loop_cause
from servekit.diagnosis.causes.waits import WAITS, is_at_ease
from servekit.diagnosis.causes.wording import names, score, seconds_of, told
from servekit.diagnosis.evidence import Evidence, Verdict, most
from servekit.diagnosis.readings import LOOP_CPU, REQUEST, STATEMENT, Window
from servekit.diagnosis.remedies import TITLES
from servekit.diagnosis.shares import wait_shares, waits

if TYPE_CHECKING:
    from collections.abc import Iterable

BUSY = 0.85
LOADED = 0.3
"""Of its time, below which more requests are no trouble for a worker."""
UNEVEN = 1.5
REQUESTS_MIN = 10
LOOKUPS_MIN = 1000
HIT_RATIO_MIN = 0.5
WARMING = 0.1
STATEMENTS_MIN = 10
STATEMENTS_MANY = 50
WAITED_MIN_SECONDS = 0.05
STATEMENTS_PART = 0.3
SHED = "http_requests_shed_total"
HOST = ("stopped", "steal", "cpu_quota", "cpu_starvation")


def overload(evidence: Evidence) -> Verdict | None:
    """Look for more requests than the workers can compute, each of them short."""

    def holds(window: Window) -> bool:
        return (
            window.of(SHED, "event_loop_lag") > 0
            and window.busy >= BUSY * window.seconds
            and window.total(LOOP_CPU) >= window.busy / 2
        )

    found = evidence.confirmed(holds)
    if not found or any(loop_cause(evidence, cause) for cause in CODE):
        return None  # a full queue behind one slow handler is that handler's fault
    shed = sum(window.shed for window in found)
    share = shed / sum(window.shed + window.requests for window in found)
    sentence = (
        f"{TITLES['overload']}: {told(names(found))} answered "
        f"{sum(window.requests for window in found) / len(found):.0f} requests a second each "
        f"and refused {share:.0%}"
    )
    cpu = sum(window.total(LOOP_CPU) for window in found) / seconds_of(found)
    return Verdict(
        "overload",
        score(share, 0.0, 0.3),
        share,
        "requests",
        names(found),
        sentence,
        evidence.places(names(found)) or (),
        most(found, f"{REQUEST}_sum"),
        (f"A call that waits: the loops computed {cpu:.2f} s of each second",),
    )


def many_statements(evidence: Evidence) -> Verdict | None:
    """Look for requests that ask the database for many small things, one after the other."""

    def holds(window: Window) -> bool:
        statements, requests = window.total(f"{STATEMENT}_count"), window.requests
        waited, each = wait_shares(window)["database_slow"], waits(window)["database_slow"]
        return (
            is_at_ease(window)
            and 0 < STATEMENTS_MIN * requests <= statements
            and each < WAITS["database_slow"].limit * statements
            and waited >= STATEMENTS_PART * window.total(f"{REQUEST}_sum")
            and waited >= WAITED_MIN_SECONDS * requests
        )

    found = evidence.confirmed(holds)
    if not found:
        return None
    statements = sum(window.total(f"{STATEMENT}_count") for window in found)
    each = statements / sum(window.requests for window in found)
    waited = sum(wait_shares(window)["database_slow"] for window in found)
    share = waited / (evidence.total(lambda window: window.total(f"{REQUEST}_sum")) or 1.0)
    return Verdict(
        "many_statements",
        score(each, STATEMENTS_MIN, STATEMENTS_MANY),
        share,
        "request seconds",
        names(found),
        f"{TITLES['many_statements']}: {each:.0f} statements a request, {share:.0%} of the time of "
        "all requests",
        route=most(found, f"{REQUEST}_sum"),
        ruled_out=(f"A slow database: {waited / statements * 1000:.1f} ms a statement",),
    )


def uneven_workers(evidence: Evidence) -> Verdict | None:
    """Look for a worker in trouble with more requests than the others, which have little to do."""
    moments: dict[float, list[Window]] = defaultdict(list)
    for window in evidence.windows:
        moments[window.at].append(window)

    def holds(window: Window) -> bool:
        others = [each for each in moments[window.at] if each is not window]
        return (
            (window.is_stalled or window.is_troubled)
            and sum(evidence.stalls(window).get(cause, 0.0) for cause in HOST) <= window.stalled / 2
            and window.requests >= REQUESTS_MIN
            and bool(others)
            and window.busy >= LOADED * window.seconds
            and window.requests > UNEVEN * median(each.requests for each in [window, *others])
            and median(each.busy for each in others) < window.busy / 2
        )

    found = evidence.confirmed(holds, each=True)
    if not found:
        return None
    share = sum(w.requests for w in found) / evidence.total(lambda window: window.requests)
    sentence = f"{TITLES['uneven_workers']}: {told(names(found))} got {share:.0%} of the requests"
    return Verdict(
        "uneven_workers", score(share, 0.0, 1.0), share, "requests", names(found), sentence
    )


def low_hit_ratio(evidence: Evidence) -> Verdict | None:
    """Look for caches that answer less than half of their look-ups, and have had time to fill."""
    found = evidence.confirmed(
        lambda window: window.is_troubled and not window.is_stalled and not window.misses("redis")
    )
    half = len(evidence.windows) // 2
    earlier, later = (lookups(each) for each in (evidence.windows[:half], evidence.windows[half:]))
    asked = earlier[1] + later[1]
    if not found or not later[1] or asked <= LOOKUPS_MIN:
        return None
    ratio, before = later[0] / later[1], earlier[0] / max(1, earlier[1])
    if ratio >= HIT_RATIO_MIN or ratio > before + WARMING:
        return None
    sentence = f"{TITLES['low_hit_ratio']}: {ratio:.0%} of {asked:.0f} look-ups were answered"
    return Verdict(
        "low_hit_ratio",
        score(1 - ratio, 1 - HIT_RATIO_MIN, 1.0),
        1 - ratio,
        "look-ups",
        names(found),
        sentence,
        ruled_out=(f"A cold cache: it answered {before:.0%} in the first half",),
    )


def lookups(windows: Iterable[Window]) -> tuple[float, float]:
    """Return how many look-ups a tier answered, and how many there were."""
    hits: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for window in windows:
        for name in ("cache_hits_total", "cache_stale_hits_total"):
            hits.update(window.deltas.get(name, {}))
        asked.update(window.deltas.get("cache_misses_total", {}))
    asked.update(hits)
    # A look-up goes through both tiers, or through one alone where the other is off.
    most_asked = max(asked.values(), default=0.0)
    return min(most_asked, sum(hits.values())), most_asked
