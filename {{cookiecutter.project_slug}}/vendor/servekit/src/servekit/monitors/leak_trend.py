"""Tells memory that leaks from memory that comes and goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import combinations
from statistics import median

SLICE_SECONDS = 180.0
SLICES = 8
RISING_SHARE = 0.9
GROWTH_BYTES_PER_HOUR = 2**20
SECONDS_PER_HOUR = 3600.0


class LeakTrend:
    """Judge the floor of memory: its least value in each of the last eight slices of 3 minutes.

    A cache that fills and a collector that runs late make waves; their floor is level. The floor of
    a leak rises from slice to slice. The first `warm_up_seconds` do not count. The trend is the
    median of the slopes between all slices (Theil-Sen), which single outliers do not move.
    """

    def __init__(self, *, warm_up_seconds: float = 300.0) -> None:
        self._warm_up_seconds = warm_up_seconds
        self._first: float | None = None
        self._slice_start = 0.0
        self._least = 0.0
        self._floors: deque[tuple[float, float]] = deque(maxlen=SLICES)

    def add(self, now: float, value: float) -> None:
        """Take in the memory in bytes at a time in seconds."""
        if self._first is None:
            self._first = now
        if now - self._first < self._warm_up_seconds:
            self._slice_start, self._least = now, value
        elif now - self._slice_start >= SLICE_SECONDS:
            self._floors.append((self._slice_start, self._least))
            self._slice_start, self._least = now, value
        else:
            self._least = min(self._least, value)

    @property
    def bytes_per_hour(self) -> float:
        """Growth of the floor; 0 until there are three slices."""
        if len(self._floors) < 3:  # noqa: PLR2004 - a slope through two points is noise
            return 0.0
        return median(slopes(self._floors)) * SECONDS_PER_HOUR

    @property
    def leaking(self) -> bool:
        """Whether the floor rose all along and does not level off, by enough to matter."""
        if len(self._floors) < SLICES:
            return False
        every = slopes(self._floors)
        recent = slopes(list(self._floors)[SLICES // 2 :])
        rising = sum(slope > 0 for slope in every) >= RISING_SHARE * len(every)
        slower = min(median(every), median(recent)) * SECONDS_PER_HOUR
        return rising and slower >= GROWTH_BYTES_PER_HOUR


def slopes(points: Iterable[tuple[float, float]]) -> list[float]:
    """Return the slope between each two points of (seconds, bytes)."""
    pairs = combinations(points, 2)
    return [(later - earlier) / (end - start) for (start, earlier), (end, later) in pairs]
