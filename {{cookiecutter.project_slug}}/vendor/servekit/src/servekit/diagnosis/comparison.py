"""What changed between two reports of a doctor: causes that went or came, and the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servekit.diagnosis.judgement import judge_again
from servekit.diagnosis.readings import Window
from servekit.diagnosis.remedies import TITLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FIGURES: dict[str, Callable[[Window], tuple[float, float]]] = {
    "event loop stood still": lambda w: (w.stalled, w.seconds),
    "event loop busy": lambda w: (w.busy, w.seconds),
    "requests slow": lambda w: (w.slow, w.requests),
    "requests failed": lambda w: (w.failed, w.requests),
    "requests refused": lambda w: (w.shed, w.requests + w.shed),
}
"""Shares, by what is summed up over all windows: a part, and its whole."""


AS_LONG = 0.8
"""Of the other report's time, from which on what one saw is missed in the other."""


def read_report(name: str) -> dict[str, Any]:
    """Return a doctor's report in JSON.

    Raises:
        ValueError: It cannot be read, or is none of this version; the text says why.
    """
    try:
        seen: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
        judge_again(seen)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error) if str(error).startswith("this is no report") else "no doctor's report"
        raise ValueError(f"{name}: {why}") from None
    return seen


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each cause of either report, and for each figure."""
    was, now = (judge_again(seen).verdicts for seen in (before, after))
    shares = {verdict.cause: verdict for verdict in was}
    for verdict in now:
        earlier = shares.pop(verdict.cause, None)
        told = "new" if earlier is None else f"was {earlier.share:.0%}"
        yield f"{TITLES[verdict.cause]}: {told}, now {verdict.share:.0%} of {verdict.share_of}"
    first, last = ([Window(**one) for one in seen["windows"]] for seen in (before, after))
    long, short = (max((one.at for one in each), default=0) for each in (first, last))
    for cause, verdict in shares.items():
        gone = f"not seen in {short:.0f} s" if short < AS_LONG * long else "gone"
        yield f"{TITLES[cause]}: {gone}, was {verdict.share:.0%} of {verdict.share_of}"
    if not AS_LONG <= short / max(1, long) <= 1 / AS_LONG:
        yield f"sampled for {long:.0f} and {short:.0f} s: compare reports of the same length"
    for name, parts in FIGURES.items():
        yield f"{name}: {share(first, parts):.1%} -> {share(last, parts):.1%}"
    yield f"requests a second: {rate(first):.0f} -> {rate(last):.0f}"


def share(windows: list[Window], parts: Callable[[Window], tuple[float, float]]) -> float:
    """Return the part of the whole over all windows."""
    pairs = [parts(window) for window in windows]
    return sum(part for part, _ in pairs) / (sum(whole for _, whole in pairs) or 1.0)


def rate(windows: list[Window]) -> float:
    """Return the requests of a second, all workers together."""
    seconds = sum(window.seconds for window in windows) or 1.0
    workers = len({window.worker for window in windows})
    return workers * sum(window.requests for window in windows) / seconds
