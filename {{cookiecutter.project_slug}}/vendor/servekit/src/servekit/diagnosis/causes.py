"""The rules: each looks for one cause and returns a verdict, or None; none reads anything else."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from servekit.diagnosis.evidence import Evidence, Verdict, most
from servekit.diagnosis.readings import LOOP_CPU, REQUEST, Window
from servekit.diagnosis.remedies import TITLES
from servekit.diagnosis.shares import stall_shares, wait_shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Rule = Callable[[Evidence], Verdict | None]

LOOP_LIMITS = {  # seconds of each second, between which the score goes from 0 to 100
    "cpu_quota": (0.05, 0.3),
    "cpu_starvation": (0.1, 0.4),
    "gc": (0.1, 0.5),
    "blocking_call": (0.1, 0.5),
    "cpu_on_loop": (0.1, 0.5),
}
WAIT_LIMITS = {  # mean seconds, and what is counted
    "redis_pool": (0.01, 0.1, "redis_command_duration_seconds"),
    "upstream_pool": (0.01, 0.1, "upstream_request_duration_seconds"),
    "offload_full": (0.05, 0.5, "offload_queue_wait_seconds"),
    "redis_slow": (0.01, 0.1, "redis_command_duration_seconds"),
    "upstream_slow": (0.1, 1.0, "upstream_request_duration_seconds"),
}
PART = 0.2
"""Of a window's stalled seconds: a smaller one is no cause of them."""
WAIT_PART = 0.3
BUSY = 0.85
SATURATED = 0.8
UNEVEN = 1.5
REQUESTS_MIN = 10
LOOKUPS_MIN = 1000
HIT_RATIO_MIN = 0.5
WARMING = 0.1
REJECTED = "offload_rejected_total"
SHED = "http_requests_shed_total"


def loop_cause(evidence: Evidence, cause: str) -> Verdict | None:
    """Look for what keeps the loop from running, among the causes that share its stalls."""
    limit, full = LOOP_LIMITS[cause]

    def holds(window: Window) -> bool:
        share = stall_shares(window).get(cause, 0.0)
        return window.is_stalled and share >= max(limit * window.seconds, PART * window.stalled)

    found = evidence.confirmed(holds)
    if not found:
        return None
    seconds = seconds_of(found)
    sums = {name: sum(stall_shares(each).get(name, 0.0) for each in found) for name in LOOP_LIMITS}
    share = sums[cause] / evidence.total(lambda window: window.stalled)
    workers = names(found)
    places: tuple[str, ...] | None = ()
    if cause in ("blocking_call", "cpu_on_loop"):
        places = evidence.places(workers)
        if places == ():
            return None  # many places: no one of them is to blame
    sentence = (
        f"{TITLES[cause]}: {sums[cause] / seconds:.2f} s of each second in {told(workers)}, "
        f"{share:.0%} of the time in which the event loops stood still"
    )
    silent = [name for name in LOOP_LIMITS if sums[name] < LOOP_LIMITS[name][0] * seconds]
    return Verdict(
        cause,
        score(sums[cause] / seconds, limit, full),
        share,
        "stalled seconds",
        workers,
        sentence,
        places or (),
        most(found, "asyncio_eventloop_blocked_total") if places else "",
        tuple(f"{TITLES[name]}: {sums[name] / seconds:.2f} s a second" for name in silent),
    )


def wait_cause(evidence: Evidence, cause: str) -> Verdict | None:
    """Look for what requests wait for while their loop is at ease."""
    limit, full, metric = WAIT_LIMITS[cause]
    counted = f"{metric}_count"

    def holds(window: Window) -> bool:
        if window.is_stalled or not window.is_troubled or window.busy > SATURATED * window.seconds:
            return False
        if cause == "offload_full" and window.total(REJECTED):
            return True
        share, count = wait_shares(window)[cause], window.total(counted)
        needed = WAIT_PART * window.total(f"{REQUEST}_sum")
        return count > 0 and share >= max(limit * count, needed)

    found = evidence.confirmed(holds)
    if not found:
        return None
    workers = names(found)
    asking = {window.worker for window in evidence.windows if window.total(counted)}
    if cause == "redis_slow" and asking != set(workers):
        return None  # what is slow for some workers only is not Redis
    waited = sum(wait_shares(window)[cause] for window in found)
    mean = waited / max(1, sum(window.total(counted) for window in found))
    share = waited / (evidence.total(lambda window: window.total(f"{REQUEST}_sum")) or 1.0)
    sentence = (
        f"{TITLES[cause]} ({most(found, f'{metric}_sum') or most(found, REJECTED)}): "
        f"{mean * 1000:.0f} ms a call in {told(workers)}, "
        f"{share:.0%} of the time of all requests"
    )
    rejected = sum(window.total(REJECTED) for window in found)
    if cause == "offload_full" and rejected:
        sentence += f"; {rejected:.0f} calls were refused"
    busy = sum(window.busy for window in found) / seconds_of(found)
    return Verdict(
        cause,
        max(score(mean, limit, full), 50 if cause == "offload_full" and rejected else 0),
        share,
        "request seconds",
        workers,
        sentence,
        ruled_out=(f"Event loop: busy {busy:.0%}, mean lag {mean_lag(found) * 1000:.1f} ms",),
    )


def overload(evidence: Evidence) -> Verdict | None:
    """Look for more requests than the workers can compute, each of them short."""

    def holds(window: Window) -> bool:
        return (
            window.of(SHED, "event_loop_lag") > 0
            and window.busy >= BUSY * window.seconds
            and window.total(LOOP_CPU) >= window.busy / 2
        )

    found = evidence.confirmed(holds)
    if not found or loop_cause(evidence, "cpu_on_loop") or loop_cause(evidence, "blocking_call"):
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


def uneven_workers(evidence: Evidence) -> Verdict | None:
    """Look for a worker in trouble with more requests than the others, which have little to do."""
    moments: dict[float, list[Window]] = defaultdict(list)
    for window in evidence.windows:
        moments[window.at].append(window)

    def holds(window: Window) -> bool:
        others = [each for each in moments[window.at] if each is not window]
        return (
            (window.is_stalled or window.is_troubled)
            and window.requests >= REQUESTS_MIN
            and bool(others)
            and window.requests > UNEVEN * median(each.requests for each in [window, *others])
            and median(each.busy for each in others) < window.busy / 2
        )

    found = evidence.confirmed(holds)
    if not found:
        return None
    share = sum(w.requests for w in found) / evidence.total(lambda window: window.requests)
    sentence = f"{TITLES['uneven_workers']}: {told(names(found))} got {share:.0%} of the requests"
    return Verdict(
        "uneven_workers", score(share, 0.0, 1.0), share, "requests", names(found), sentence
    )


def low_hit_ratio(evidence: Evidence) -> Verdict | None:
    """Look for caches that answer less than half of their look-ups, and have had time to fill."""
    found = evidence.confirmed(lambda window: window.is_troubled and not window.is_stalled)
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


def names(windows: Iterable[Window]) -> tuple[str, ...]:
    """Return the workers of windows."""
    return tuple(sorted({window.worker for window in windows}))


def told(workers: tuple[str, ...]) -> str:
    """Return workers as a sentence names them."""
    return f"worker{'s' * (len(workers) > 1)} {', '.join(workers)}"


def seconds_of(windows: Iterable[Window]) -> float:
    """Return how long windows are together."""
    return sum(window.seconds for window in windows)


def mean_lag(windows: list[Window]) -> float:
    """Return the mean lag of windows in seconds."""
    return sum(window.lag for window in windows) / len(windows)


def score(value: float, limit: float, full: float) -> int:
    """Return how far a value is from its limit to where there is no doubt, 1 to 100."""
    return max(1, min(100, round(100 * (value - limit) / (full - limit))))


RULES: tuple[Rule, ...] = (
    *(partial(loop_cause, cause=cause) for cause in LOOP_LIMITS),
    overload,
    *(partial(wait_cause, cause=cause) for cause in WAIT_LIMITS),
    uneven_workers,
    low_hit_ratio,
)
