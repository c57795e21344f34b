import asyncio
import contextvars
import time
from dataclasses import dataclass

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry, generate_latest

from servekit.cache.cache import Cache
from servekit.testing import patience
from tests.redis.patient import patient_clients
from tests.stores.workers import Product, Source, until, worker

caller = contextvars.ContextVar("caller", default="nobody")


@pytest.fixture
async def cache(redis_url):
    async with worker(redis_url) as cache:
        yield cache


async def test_a_thousand_callers_in_two_workers_make_one_load(redis_url):
    source = Source(seconds=0.2)
    async with worker(redis_url) as a, worker(redis_url) as b:
        functions = [source.cached(a), source.cached(b)]

        values = await asyncio.gather(*(f(7) for f in functions for _ in range(500)))

        assert values == [Product(id=7)] * 1000
        assert source.loads == 1


async def test_expiries_under_traffic_make_one_load_each_and_nobody_waits(redis_url):
    load = patience(0.03)
    source, slowest = Source(seconds=load), 0.0
    async with worker(redis_url) as a, worker(redis_url) as b:
        functions = [source.cached(w, ttl_seconds=0.1, stale_seconds=5) for w in (a, b)]
        await functions[0](7)
        end = (started := time.monotonic()) + patience(1)
        while time.monotonic() < end:
            before = time.monotonic()
            await asyncio.gather(*(f(7) for f in functions))
            slowest = max(slowest, time.monotonic() - before)
            await asyncio.sleep(0.002)

        lifetimes = (time.monotonic() - started) / 0.1
        assert 4 < source.loads <= lifetimes + 1
        assert slowest < load


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
    source = Source(seconds=0.1)
    product = source.cached(cache, ttl_seconds=0.05, stale_seconds=60)
    await product(7)
    source.names[7] = "Table"
    await asyncio.sleep(0.06)

    started = time.monotonic()
    result = await product.lookup(7)

    assert (result.state, result.value.name) == ("stale", "Chair")
    assert time.monotonic() - started < patience(0.05)
    assert result.age_seconds >= 0.05
    await until(lambda: source.loads == 2)
    await until(lambda: _named(product, "Table"))


async def _named(product, name):
    return (await product(7)).name == name


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


async def test_a_write_is_seen_by_the_writer_at_once_and_by_others_in_100_ms(redis_url):
    source = Source()
    async with worker(redis_url) as a, worker(redis_url) as b:
        first, second = source.cached(a), source.cached(b)
        await first(7)
        await second(7)

        await first.set(Product(id=7, name="Table"), 7)

        assert (await first(7)).name == "Table"
        await until(lambda: _named(second, "Table"), seconds=0.1)
        assert source.loads == 1

        await second.delete(7)
        assert await second.get_cached(7) is None
        await until(lambda: _gone(first), seconds=0.1)


async def _gone(product):
    return await product.get_cached(7) is None


async def test_refresh_calls_the_function_and_keeps_its_answer(cache):
    source = Source()
    product = source.cached(cache)
    await product(7)
    source.names[7] = "Table"

    assert (await product.refresh(7)).name == "Table"
    assert (await product.lookup(7)).value.name == "Table"
    assert source.loads == 2


async def test_a_tag_ends_all_that_carry_it_in_every_worker(redis_url):
    source = Source()
    options = {"tags": ("products", "product:{product_id}")}
    async with worker(redis_url) as a, worker(redis_url) as b:
        first, second = source.cached(a, **options), source.cached(b, **options)
        for number in (1, 2):
            await first(number)
            await second(number)
            assert (await second.lookup(number)).state == "hit"

        await a.invalidate_tag("product:1")
        assert (await first.lookup(1)).state == "miss"
        assert (await first.lookup(2)).state == "hit"

        await a.invalidate_tag("products")
        assert [(await first.lookup(number)).state for number in (1, 2)] == ["miss", "miss"]
        loads = source.loads
        assert (await second.lookup(2)).state == "hit"
        assert source.loads == loads


async def test_a_tag_ends_what_is_being_loaded_when_it_is_invalidated(cache):
    source = Source(seconds=0.05)
    product = source.cached(cache, tags=("products",))
    load = asyncio.create_task(product(7))
    await until(lambda: source.loads == 1)

    await cache.invalidate_tag("products")
    await load

    assert (await product.lookup(7)).state == "miss"


async def test_an_evicted_tag_ends_what_carries_it(cache, redis_url):
    source = Source()
    product = source.cached(cache, tags=("products",))
    await product(7)
    async with redis.asyncio.from_url(redis_url) as client:
        await client.delete("service:cache:t:{products}")

    await until(lambda: _missed(product), seconds=0.1)


async def _missed(product):
    return (await product.lookup(7)).state == "miss"


async def test_a_pattern_removes_the_keys_that_match_it(cache):
    values = {f"user:{number}": number for number in range(700)} | {"other": 1}
    await cache.set_many(values, ttl_seconds=60)
    assert len(await cache.get_many(values, int)) == 701

    assert await cache.delete_pattern("user:*") == 700

    assert await cache.get_many(values, int) == {"other": 1}


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


async def test_large_values_are_compressed_where_asked(redis_url):
    async with worker(redis_url, compress_bytes=1000) as cache:
        await cache.set_bytes("page", b"a" * 100_000, ttl_seconds=60)
        assert await cache.get_bytes("page") == b"a" * 100_000
        async with redis.asyncio.from_url(redis_url) as client:
            assert await client.strlen("service:cache:e:{page}") < 1000


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


async def test_a_cancelled_caller_takes_nobody_with_it(cache):
    source = Source(seconds=0.05)
    product = source.cached(cache)
    callers = [asyncio.create_task(product(7)) for _ in range(10)]
    await until(lambda: source.loads == 1)

    callers[0].cancel()

    values = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(values[0], asyncio.CancelledError)
    assert values[1:] == [Product(id=7)] * 9


async def test_a_cancelled_reader_takes_nobody_with_it(cache):
    source = Source()
    product = source.cached(cache)
    await product(7)
    cache._reader.local.clear()
    callers = [asyncio.create_task(product(7)) for _ in range(10)]
    await asyncio.sleep(0)

    callers[0].cancel()

    values = await asyncio.gather(*callers, return_exceptions=True)
    assert values[1:] == [Product(id=7)] * 9
    assert source.loads == 1


async def test_a_load_runs_in_the_context_of_its_first_caller(cache: Cache):
    @cache.cached("who", ttl_seconds=60)
    async def who() -> str:
        await asyncio.sleep(0.01)
        return caller.get()

    async def ask(name):
        caller.set(name)
        return await who()

    assert tuple(await asyncio.gather(ask("ann"), ask("bob"))) == ("ann", "ann")


async def test_a_dead_owner_frees_its_load(redis_url):
    source = Source()
    async with worker(redis_url, lease_seconds=0.2) as cache:
        product = source.cached(cache)
        async with redis.asyncio.from_url(redis_url) as client:
            await client.set("service:cache:l:{product:7}", "dead", px=200)
        started = time.monotonic()

        assert await product(7) == Product(id=7)
        assert 0.1 < time.monotonic() - started < patience(1)


async def test_a_slow_owner_keeps_its_load(redis_url):
    source = Source(seconds=0.5)
    async with worker(redis_url, lease_seconds=0.15) as a, worker(redis_url) as b:
        load = asyncio.create_task(source.cached(a)(7))
        await until(lambda: source.loads == 1)

        await source.cached(b)(7)
        await load
        assert source.loads == 1


async def test_what_is_removed_while_it_is_loaded_is_not_kept(redis_url):
    source = Source(seconds=0.05)
    async with worker(redis_url) as a, worker(redis_url) as b:
        product = source.cached(a)
        load = asyncio.create_task(product(7))
        await until(lambda: source.loads == 1)
        source.names[7] = "Table"

        await source.cached(b).delete(7)

        assert (await load).name == "Chair"
        assert (await product(7)).name == "Table"
        assert (await source.cached(b)(7)).name == "Table"


async def test_waiting_for_another_process_costs_few_commands(redis_url):
    source = Source(seconds=0.4)
    async with (
        redis.asyncio.from_url(redis_url) as client,
        worker(redis_url) as a,
        worker(redis_url) as b,
    ):
        load = asyncio.create_task(source.cached(a)(7))
        await until(lambda: source.loads == 1)
        before = (await client.info("stats"))["total_commands_processed"]

        await asyncio.gather(load, *(source.cached(b)(7) for _ in range(50)))

        spent = (await client.info("stats"))["total_commands_processed"] - before
        assert source.loads == 1
        assert spent < 75, "fifty callers ask once each, then are notified"


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
