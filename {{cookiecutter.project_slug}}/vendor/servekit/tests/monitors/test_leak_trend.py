import math
import random

import pytest

from servekit.monitors.leak_trend import LeakTrend

MIB = 2**20


def reported_after(memory, minutes):
    """Return the simulated minute in which a leak is reported first, or None."""
    trend = LeakTrend()
    for second in range(0, minutes * 60, 10):
        trend.add(second, memory(second))
        if trend.leaking:
            return second / 60
    return None


def noise(seed):
    rng = random.Random(seed)
    return lambda: rng.uniform(0, 0.2 * MIB)


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_2_mb_an_hour_is_reported_within_30_minutes(seed):
    wiggle = noise(seed)
    minute = reported_after(lambda s: 80 * MIB + 2 * MIB * s / 3600 + wiggle(), 31)
    assert minute is not None
    assert minute <= 30


@pytest.mark.parametrize("period_minutes", [1, 5, 13, 20])
def test_a_healthy_sawtooth_is_not(period_minutes):
    period = period_minutes * 60
    assert reported_after(lambda s: 80 * MIB + 8 * MIB * (s % period) / period, 90) is None


def test_neither_is_noise_nor_memory_that_levels_off():
    wiggle = noise(1)
    assert reported_after(lambda _: 80 * MIB + wiggle(), 120) is None
    assert reported_after(lambda s: 80 * MIB + 20 * MIB * (1 - math.exp(-s / 120)), 120) is None


def test_the_trend_is_growth_an_hour():
    trend = LeakTrend()
    for second in range(0, 3600, 10):
        trend.add(second, 50 * MIB + 3 * MIB * second / 3600)
    assert trend.bytes_per_hour == pytest.approx(3 * MIB, rel=0.01)


def test_without_enough_samples_there_is_no_trend():
    trend = LeakTrend()
    trend.add(0, 1)
    assert trend.bytes_per_hour == 0
    assert not trend.leaking
