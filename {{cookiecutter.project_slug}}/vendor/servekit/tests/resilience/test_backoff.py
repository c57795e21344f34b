from servekit.resilience.backoff import Backoff


def test_the_first_failure_is_retried_at_once_and_then_ever_later_up_to_the_limit():
    backoff = Backoff(jitter=0)
    assert [backoff.delay(0) for _ in range(12)] == [
        0, 0.5, 0.75, 1.125, 1.6875, 2.53125, 3.796875, 5.6953125, 8.54296875, 12.814453125, 15, 15,
    ]  # fmt: skip


def test_a_long_life_starts_the_delays_over():
    backoff = Backoff(jitter=0)
    delays = [backoff.delay(lived) for lived in (0, 0, 0, 31, 0)]
    assert delays == [0, 0.5, 0.75, 0, 0.5]


def test_delays_are_spread_below_their_value():
    delays = {Backoff(first_now=False, jitter=0.5).delay(0) for _ in range(50)}
    assert len(delays) > 40
    assert all(0.25 <= delay <= 0.5 for delay in delays)
