"""Event-loop lag over a rolling window, corrected for coordinated omission."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LagSummary(NamedTuple):
    """Seconds of lag within the window; all zero while there is no sample."""

    min: float = 0
    max: float = 0
    mean: float = 0
    p50: float = 0
    p90: float = 0
    p99: float = 0


class LagWindow:
    """Keep the samples of the last `window_seconds`, and a histogram of all of them.

    A sampler that should fire each `interval_seconds` takes one sample in a long stall, where 50
    were due: each late sample therefore counts as all those that it kept from being taken. Reading
    changes nothing, so any number of readers see the same.
    """

    def __init__(self, *, interval_seconds: float, window_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.window_seconds = window_seconds
        self.bucket_counts = [0] * (len(LAG_BUCKETS) + 1)
        self.lag_seconds_total = 0.0
        self._samples: deque[tuple[float, float]] = deque(
            maxlen=int(window_seconds / interval_seconds) + 1
        )

    def add(self, now: float, lag: float) -> None:
        """Take in the sample that fired `lag` seconds late."""
        if lag > self.interval_seconds:
            # The stall began somewhere in the interval before the sample was due: half-way, say.
            lag += self.interval_seconds / 2
        self._samples.append((now, lag))
        while True:
            self.bucket_counts[bisect_left(LAG_BUCKETS, lag)] += 1
            self.lag_seconds_total += lag
            lag -= self.interval_seconds
            if lag <= 0:
                return

    def summary(self, now: float) -> LagSummary:
        """Work out the figures of the window, in any thread; about a millisecond."""
        lags: list[float] = []
        for taken, sample in list(self._samples):  # a copy, as the loop goes on adding
            lag = sample
            missed = taken
            while missed > now - self.window_seconds:
                lags.append(lag)
                lag -= self.interval_seconds
                missed -= self.interval_seconds
                if lag <= 0:
                    break
        if not lags:
            return LagSummary()
        lags.sort()
        p50, p90, p99 = (lags[min(len(lags) - 1, int(len(lags) * q))] for q in (0.5, 0.9, 0.99))
        return LagSummary(lags[0], lags[-1], sum(lags) / len(lags), p50, p90, p99)
