"""How long to wait on this machine for what is quick on a quiet one."""

from __future__ import annotations

import functools
import os
import statistics
import time

LOOPS = 100_000
QUIET_SECONDS = 0.004
"""What the loop takes on a server CPU of 2020 that does nothing else."""

FACTOR_MAX = 10.0

PATIENT_WITH_REDIS = dict.fromkeys(
    ("timeout_redis_connect_ms", "timeout_cache_ms", "timeout_session_ms"), 10_000
)
"""Settings of a tested service: where Redis is late, each worker counts and remembers alone."""


def patience(seconds: float) -> float:
    """Return how long a test waits for what takes at most `seconds` on a quiet machine.

    It grows with the load of the moment, and on a slow CPU, up to tenfold; it never shrinks. For
    deadlines of waits, not for pauses.
    """
    return seconds * min(max(slowness() * crowd(), 1.0), FACTOR_MAX)


@functools.cache
def slowness() -> float:
    """Return how much longer than on a quiet machine a fixed piece of work takes, at least 1."""
    return max(statistics.median(measure() for _ in range(5)) / QUIET_SECONDS, 1.0)


def measure() -> float:
    """Return the seconds that the work takes now."""
    began = time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number & 7
    return time.perf_counter() - began


def crowd() -> float:
    """Return how many want each CPU of the machine, at least 1."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
