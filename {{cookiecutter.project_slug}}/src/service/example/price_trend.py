"""Find the trend in a price history: CPU work for another process."""

from __future__ import annotations

from itertools import combinations
from statistics import median
from typing import Literal, NamedTuple

SIGNIFICANT_TAU = 0.1


class Trend(NamedTuple):
    """A robust line through the points, and Kendall's tau: -1 always falling, 1 always rising."""

    slope_per_day: float
    intercept: float
    tau: float

    @property
    def direction(self) -> Literal["rising", "falling", "flat"]:
        if abs(self.tau) < SIGNIFICANT_TAU:
            return "flat"
        return "rising" if self.tau > 0 else "falling"


def price_trend(days: list[int], prices: list[float]) -> Trend:
    """Return the Theil-Sen line, which a third of wild points cannot bend.

    It compares every point with every other: 2,000 points are 2 million pairs. Raises
    `statistics.StatisticsError` unless the points span two days.
    """
    points = sorted(zip(days, prices, strict=True))
    slopes = [
        (later_price - price) / (later_day - day)
        for (day, price), (later_day, later_price) in combinations(points, 2)
        if later_day != day
    ]
    slope = median(slopes)
    intercept = median(price - slope * day for day, price in points)
    rising = sum(slope > 0 for slope in slopes)
    falling = sum(slope < 0 for slope in slopes)
    return Trend(slope, intercept, (rising - falling) / len(slopes))
