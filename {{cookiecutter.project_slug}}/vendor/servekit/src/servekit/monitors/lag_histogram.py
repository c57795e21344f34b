"""Event-loop lag as a histogram, corrected for coordinated omission."""

from __future__ import annotations

from bisect import bisect_left

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LagHistogram:
    """Count samples of lag by size.

    A sampler that should fire each `interval_seconds` takes one sample in a long stall, where 50
    were due: each late sample therefore counts as all those that it kept from being taken.
    """

    def __init__(self, *, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.bucket_counts = [0] * (len(LAG_BUCKETS) + 1)
        self.lag_seconds_total = 0.0

    def add(self, lag: float) -> None:
        """Take in the sample that fired `lag` seconds late."""
        if lag > self.interval_seconds:
            # The stall began somewhere in the interval before the sample was due: half-way, say.
            lag += self.interval_seconds / 2
        while True:
            self.bucket_counts[bisect_left(LAG_BUCKETS, lag)] += 1
            self.lag_seconds_total += lag
            lag -= self.interval_seconds
            if lag <= 0:
                return
