"""Neighbours that do not answer any more: the breaker before them is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servekit.diagnosis.causes.wording import names, score, told
from servekit.diagnosis.evidence import Verdict, most
from servekit.diagnosis.readings import BREAKERS, FAILED_SHARE, REQUEST
from servekit.diagnosis.remedies import TITLES

if TYPE_CHECKING:
    from servekit.diagnosis.evidence import Evidence
    from servekit.diagnosis.readings import Window

FELT_FULL = 0.3


def away_cause(evidence: Evidence, neighbour: str) -> Verdict | None:
    """Look for a neighbour that is away, and missed."""

    def holds(window: Window) -> bool:
        return (
            window.is_troubled
            and not window.is_stalled
            and bool(open_breakers(window, neighbour))
            and (window.failed > 0 or is_missed_by_cache(window, neighbour))
        )

    found = evidence.confirmed(holds)
    if not found:
        return None
    shut = sorted({name for window in found for name in open_breakers(window, neighbour)})
    failed = sum(window.failed for window in found)
    share = failed / (evidence.total(lambda window: window.requests) or 1.0)
    slow = sum(window.slow for window in found if is_missed_by_cache(window, neighbour))
    if share < FAILED_SHARE and not slow:
        return None  # nobody misses it
    cause, workers = f"{neighbour}_away", names(found)
    return Verdict(
        cause,
        score(share, 0.0, FELT_FULL),
        share,
        "requests",
        workers,
        f"{TITLES[cause]}: the breaker of {', '.join(shut)} is open in {told(workers)}; "
        f"{share:.0%} of all requests failed meanwhile",
        route=most(found, f"{REQUEST}_sum"),
    )


def is_missed_by_cache(window: Window, neighbour: str) -> bool:
    """Whether look-ups that Redis would have answered took their time elsewhere."""
    return neighbour == "redis" and window.total("cache_misses_total") > 0


def open_breakers(window: Window, neighbour: str) -> list[str]:
    """Return the pools or upstreams whose breakers are not closed, of upstreams those called.

    The breaker of one that nobody calls stays open; pools of Redis ask for themselves.
    """
    states = window.levels.get(BREAKERS[neighbour], {})
    called = window.deltas.get("upstream_request_duration_seconds_count", {})
    return [
        name for name, state in states.items() if state and (neighbour == "redis" or name in called)
    ]
