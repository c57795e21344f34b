"""What a lookup gives: fresh, stale, nothing, an error; and what it costs."""

import asyncio
import time
from dataclasses import dataclass

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry, generate_latest

from servekit.cache.cache import Cache
from servekit.testing import patience
from tests.redis.patient import patient_clients
from tests.stores.workers import Product, Source, is_named, until, worker


async def test_a_hot_key_is_loaded_before_it_expires(cache):
    source = Source(seconds=0.04)
    product = source.cached(cache, ttl_seconds=1)
    await product(7)
    states = set()

    while source.loads < 2:
        states.add((await product.lookup(7)).state)
        await asyncio.sleep(0.002)

    assert states == {"hit"}


async def test_a_stale_value_is_served_while_it_is_loaded_anew(cache):
    source = Source()
    product = source.cached(cache, ttl_seconds=0.05, stale_seconds=60)
    await product(7)
    source.seconds = patience(0.5)
    source.names[7] = "Table"
    await asyncio.sleep(0.06)

    started = time.monotonic()
    result = await product.lookup(7)

    assert (result.state, result.value.name) == ("stale", "Chair")
    assert time.monotonic() - started < 0.8 * source.seconds
    assert result.age_seconds >= 0.05
    await until(lambda: source.loads == 2)
    await until(lambda: is_named(product, "Table"))


async def test_a_failing_source_is_hidden_until_the_hard_end(cache):
    source = Source()
    product = source.cached(cache, ttl_seconds=0.05, stale_seconds=0.3)
    await product(7)
    source.error = LookupError("down")
    await asyncio.sleep(0.06)

    for _ in range(20):
        assert (await product.lookup(7)).state == "stale"
        await asyncio.sleep(0.001)
    assert source.loads == 2, "a failing source is not asked again at once"

    await asyncio.sleep(0.3)
    with pytest.raises(LookupError):
        await product(7)


async def test_an_error_is_raised_to_all_waiters_and_is_not_kept(cache):
    source = Source(seconds=0.02)
    product = source.cached(cache)
    source.error = LookupError("down")

    errors = await asyncio.gather(*(product(7) for _ in range(10)), return_exceptions=True)

    assert [type(error) for error in errors] == [LookupError] * 10
    assert source.loads == 1
    source.error = None
    assert await product(7) == Product(id=7)


async def test_nothing_is_cached_too_and_has_a_lifetime_of_its_own(cache):
    source = Source()
    product = source.cached(cache, negative_ttl_seconds=0.1, stale_seconds=60)

    assert [await product(-1) for _ in range(5)] == [None] * 5
    assert source.loads == 1
    await asyncio.sleep(0.12)
    assert await product(-1) is None
    assert source.loads == 2


async def test_expiries_of_one_lifetime_are_spread(cache, redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        source = Source()
        product = source.cached(cache, ttl_seconds=100, jitter=0.1)
        await asyncio.gather(*(product(number) for number in range(200)))
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(200):
                pipeline.pttl(f"service:cache:e:{{product:{number}}}")
            lifetimes = await pipeline.execute()

    assert 89_000 < min(lifetimes) < 93_000
    assert 107_000 < max(lifetimes) <= 110_000


@pytest.mark.parametrize("data", [b"", b"\x01", b"garbage" * 20, b"\x01" + b"\0" * 60])
async def test_a_corrupt_value_is_a_miss(cache, redis_url, data):
    source = Source()
    product = source.cached(cache)
    async with redis.asyncio.from_url(redis_url) as client:
        await client.set("service:cache:e:{product:7}", data)

    assert await product(7) == Product(id=7)
    assert (await product.lookup(7)).state == "hit"


async def test_a_value_of_another_type_or_version_is_a_miss(redis_url):
    @dataclass
    class Other:
        id: int
        color: str

    async with worker(redis_url) as old, worker(redis_url) as new:
        source = Source()
        await source.cached(old)(7)

        @new.cached("product:{product_id}", ttl_seconds=60)
        async def product(product_id: int) -> Other:
            return Other(product_id, "red")

        assert await product.get_cached(7) is None
        assert await product(7) == Other(7, "red")
        assert (await source.cached(new, version="2").lookup(7)).state == "miss"


async def test_what_is_read_back_has_the_annotated_type(redis_url):
    async def products(count: int) -> dict[str, list[Product]]:
        return {"all": [Product(id=number) for number in range(count)]}

    async with worker(redis_url) as a, worker(redis_url) as b:
        first, second = (w.cached("products:{count}", ttl_seconds=60)(products) for w in (a, b))

        assert await first(3) == await second(3) == await products(3)
        assert (await second.lookup(3)).state == "hit"


async def test_only_the_return_type_must_exist_at_run_time(cache: Cache):
    async def fine(number: "Absent") -> int:  # type: ignore[name-defined] # noqa: F821
        return 1

    async def wrong(number: int) -> "Absent":  # type: ignore[name-defined] # noqa: F821
        return 1

    assert await cache.cached("fine:{number}", ttl_seconds=60)(fine)(1) == 1
    with pytest.raises(TypeError, match="wrong must be importable"):
        cache.cached("wrong:{number}", ttl_seconds=60)(wrong)


async def test_a_value_without_a_json_form_is_returned_and_not_kept(cache: Cache):
    @cache.cached("thing:{number}", ttl_seconds=60)
    async def thing(number: int) -> object:
        return object()

    assert type(await thing(1)) is object
    assert (await thing.lookup(1)).state == "miss"


async def test_explicit_values_pass_both_tiers(redis_url):
    async with worker(redis_url) as a, worker(redis_url) as b:
        await a.set("greeting", {"hello": ["world"]}, ttl_seconds=60, tags=("greetings",))

        assert await b.get("greeting", dict) == {"hello": ["world"]}
        assert await b.get("greeting", int) is None
        assert await b.get("absent", dict, {"none": 1}) == {"none": 1}
        await a.delete("greeting")
        assert await a.get("greeting", dict) is None

        await a.set("greeting", None, ttl_seconds=60)
        result = await a.lookup("greeting", type(None))
        assert result is not None
        assert result.value is None


async def test_bytes_keep_their_state_and_age(cache):
    await cache.set_bytes("page", b"<p>", ttl_seconds=0.05, stale_seconds=60, tags=("pages",))
    assert await cache.get_bytes("page") == b"<p>"
    await asyncio.sleep(0.06)

    assert await cache.get_bytes("page") is None
    result = await cache.lookup_bytes("page")
    assert (result.value, result.state) == (b"<p>", "stale")
    assert result.age_seconds >= 0.05
    await cache.invalidate_tag("pages")
    assert await cache.lookup_bytes("page") is None


async def test_a_bypass_reads_the_source_and_touches_nothing(cache):
    source = Source()
    product = source.cached(cache)
    await product(7)

    with cache.bypass():
        assert (await product.lookup(7)).state == "bypass"
        assert await product.get_cached(7) is None
    assert source.loads == 2
    assert (await product.lookup(7)).state == "hit"


async def test_a_disabled_cache_is_not_there(redis_url):
    source = Source()
    async with worker(redis_url, enabled=False) as cache:
        product = source.cached(cache)
        await product(7)
        await product.set(Product(id=7, name="Table"), 7)
        await cache.set("a", 1, ttl_seconds=60)

        assert (await product.lookup(7)).state == "bypass"
        assert await cache.get("a", int) is None
        async with redis.asyncio.from_url(redis_url) as client:
            assert await client.dbsize() == 0


async def test_warming_ends_at_its_deadline(cache):
    source = Source()
    product, slow = source.cached(cache), Source(seconds=10).cached(cache)

    assert await cache.warm([lambda: product(1), lambda: product(2)], timeout_seconds=1)
    assert not await cache.warm([lambda: product(3), lambda: slow(4)], timeout_seconds=0.05)
    assert (await product.lookup(3)).state == "hit"


async def test_warming_has_the_seconds_of_the_setting_where_none_are_given(redis_url):
    async with worker(redis_url, warm_seconds=0.05) as cache:
        slow = Source(seconds=10).cached(cache)
        assert not await cache.warm([lambda: slow(1)])


async def test_metrics_name_caches_and_tiers_and_never_keys(redis_url):
    registry = CollectorRegistry()
    async with (
        patient_clients(redis_url, registry=registry),
        worker(redis_url, registry=registry) as cache,
    ):
        product = Source().cached(cache)
        await product(712345)
        local = cache._reader.local
        await until(local.held.is_empty)
        for _ in range(3):
            await product(712345)
        await product.delete(712345)
        text = generate_latest(registry).decode()

    assert 'cache_hits_total{cache="product",tier="local"} 2.0' in text
    assert 'cache_hits_total{cache="product",tier="redis"} 1.0' in text
    assert 'cache_misses_total{cache="product",tier="redis"} 1.0' in text
    assert 'cache_writes_total{cache="product",tier="redis"} 1.0' in text
    assert 'cache_invalidations_total{cache="product",tier="redis"} 1.0' in text
    assert "cache_invalidation_channel_up 1.0" in text
    assert 'redis_breaker_state{pool="cache"} 0.0' in text
    assert "712345" not in text


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_cache_that_is_off_has_no_channel_to_be_down(redis_url, enabled):
    registry = CollectorRegistry()
    async with worker(redis_url, registry=registry, enabled=enabled):
        text = generate_latest(registry).decode()
    assert ("cache_invalidation_channel_up" in text) is enabled


async def test_the_local_tier_keeps_its_bound_in_bytes(redis_url):
    async with worker(redis_url, local_bytes=50_000) as cache:
        for number in range(200):
            await cache.set_bytes(f"page:{number}", b"x" * 1000, ttl_seconds=60)
            await cache.get_bytes(f"page:{number}")
        local = cache._reader.local

        assert 20_000 < local.size_bytes <= 50_000
        await cache.set_bytes("huge", b"x" * 60_000, ttl_seconds=60)
        assert await cache.get_bytes("huge") == b"x" * 60_000
        assert "huge" not in local.entry_keys()


async def test_zero_local_bytes_leave_redis_as_the_only_tier(redis_url):
    async with worker(redis_url, local_bytes=0) as cache:
        product = Source().cached(cache)
        await product(7)

        assert {(await product.lookup(7)).tier for _ in range(5)} == {"redis"}
