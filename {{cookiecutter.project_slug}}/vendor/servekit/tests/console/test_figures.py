from hypothesis import given, strategies as st

from servekit.console import figures

BOUNDS = ["0.005", "0.01", "0.1", "1.0", "+Inf"]


def totals(*counts, **more):
    return {"durations": dict(zip(BOUNDS, counts, strict=True)), "errors": 0, "shed": 0, **more}


@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5))
def test_a_quantile_lies_in_the_bucket_that_holds_it(counts):
    found = figures.quantile(dict(zip(BOUNDS, counts, strict=True)))
    assert (found is None) == (not sum(counts))
    if found is None:
        return
    durations = [bound for bound, count in zip(BOUNDS, counts, strict=True) for _ in range(count)]
    bound = durations[-(-99 * len(durations) // 100) - 1]
    below = [0.0, *map(float, BOUNDS)][BOUNDS.index(bound)]
    assert below <= found <= min(float(bound), 1.0)


def test_rates_are_of_the_last_second_and_the_p99_of_all_that_is_kept():
    oldest, last, now = totals(0, 0, 0, 0, 0), totals(0, 0, 0, 90, 0), totals(10, 0, 0, 90, 0)
    row = figures.of_worker((4.0, last), (5.0, now | {"errors": 3}), (0.0, oldest))
    assert row["rate"] == 10
    assert row["errors_rate"] == 3
    assert row["p99_seconds"] > 0.5


def test_a_first_reading_has_no_rates():
    assert "rate" not in figures.of_worker(
        None, (1.0, totals(1, 0, 0, 0, 0)), (1.0, totals(*[0] * 5))
    )


def test_caches_and_pools_are_of_all_workers_together():
    before: figures.Totals = {"caches": {}, "pools": {}}
    counts = {"hits": 30, "misses": 20, "stale_hits": 0, "writes": 0}
    after = {
        "caches": {"product": {"local": counts}},
        "pools": {"redis cache": {"calls": 10, "seconds": 0.5, "wait_seconds": 0.1, "breaker": 2}},
    }
    [cache] = figures.caches([(before, after, 10.0)] * 2)
    assert (cache["cache"], cache["tier"], cache["hits"]) == ("product", "local", 6)
    assert cache["ratio"] == 0.6
    [pool] = figures.pools([(before, after, 10.0)] * 2)
    assert pool == {
        "pool": "redis cache",
        "rate": 2,
        "mean_seconds": 0.05,
        "wait_seconds": 0.01,
        "open": 2,
    }
