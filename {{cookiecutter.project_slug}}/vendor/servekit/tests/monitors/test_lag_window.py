import pytest

from servekit.monitors.lag_window import LAG_BUCKETS, LagWindow


def window():
    return LagWindow(interval_seconds=0.01, window_seconds=10)


def run(window, *, start, seconds):
    """Add what an undisturbed sampler would see; return the time after it."""
    ticks = round(seconds / 0.01)
    for tick in range(ticks):
        window.add(start + tick * 0.01, 0.0005)
    return start + ticks * 0.01


def test_one_stall_of_500_ms_in_10_s_shows_in_the_99th_percentile():
    lags = window()
    now = run(lags, start=100, seconds=9.5) + 0.5
    lags.add(now, 0.49)
    summary = lags.summary(now)
    assert 0.4 <= summary.p99 <= 0.5
    assert summary.max == pytest.approx(0.5, rel=0.1)
    assert summary.p50 == 0.0005
    assert summary.p90 < 0.001


def test_the_histogram_counts_the_samples_that_a_stall_kept_from_being_taken():
    lags = window()
    lags.add(100, 0.49)
    assert sum(lags.bucket_counts) == 50
    assert lags.bucket_counts[LAG_BUCKETS.index(0.5)] == 25
    assert lags.lag_seconds_total == pytest.approx(sum(range(1, 51)) / 100 - 0.25)


def test_reading_does_not_reset_the_window():
    lags = window()
    lags.add(100, 0.3)
    assert lags.summary(101) == lags.summary(101)
    assert lags.summary(101).max == pytest.approx(0.305)


def test_a_stall_leaves_the_window_after_its_time():
    lags = window()
    lags.add(100, 0.3)
    now = run(lags, start=100.01, seconds=10.2)
    assert lags.summary(now).max == 0.0005


def test_a_slow_loop_that_samples_seldom_keeps_no_older_samples_either():
    lags = window()
    lags.add(100, 0.9)
    lags.add(115, 0.0005)
    assert lags.summary(115).max == 0.0005


def test_without_samples_all_is_zero():
    assert set(window().summary(5)) == {0}
