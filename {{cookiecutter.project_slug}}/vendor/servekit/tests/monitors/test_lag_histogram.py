import pytest

from servekit.monitors.lag_histogram import LAG_BUCKETS, LagHistogram


def test_the_samples_that_a_stall_kept_from_being_taken_are_counted():
    lags = LagHistogram(interval_seconds=0.01)
    lags.add(0.49)
    assert sum(lags.bucket_counts) == 50
    assert lags.bucket_counts[LAG_BUCKETS.index(0.5)] == 25
    assert lags.lag_seconds_total == pytest.approx(sum(range(1, 51)) / 100 - 0.25)


def test_one_stall_of_500_ms_in_10_s_shows_in_the_99th_percentile():
    lags = LagHistogram(interval_seconds=0.01)
    for _ in range(950):
        lags.add(0.0005)
    lags.add(0.49)
    slow = sum(lags.bucket_counts[LAG_BUCKETS.index(0.25) :])
    assert slow > 0.01 * sum(lags.bucket_counts)
    assert lags.bucket_counts[0] == 950


def test_a_lag_above_every_bucket_is_counted_too():
    lags = LagHistogram(interval_seconds=1.0)
    lags.add(10.4)
    assert lags.bucket_counts[-1] == 1
