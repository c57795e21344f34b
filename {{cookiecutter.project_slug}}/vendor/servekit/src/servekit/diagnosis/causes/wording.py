"""How rules count windows and workers, and how they tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from servekit.diagnosis.readings import Window


def names(windows: Iterable[Window]) -> tuple[str, ...]:
    """Return the workers of windows."""
    return tuple(sorted({window.worker for window in windows}))


def told(workers: tuple[str, ...]) -> str:
    """Return workers as a sentence names them."""
    return f"worker{'s' * (len(workers) > 1)} {', '.join(workers)}"


def seconds_of(windows: Iterable[Window]) -> float:
    """Return how long windows are together."""
    return sum(window.seconds for window in windows)


def score(value: float, limit: float, full: float) -> int:
    """Return how far a value is from its limit to where there is no doubt, 1 to 100."""
    return round(max(1.0, min(100.0, 100 * (value - limit) / (full - limit))))
