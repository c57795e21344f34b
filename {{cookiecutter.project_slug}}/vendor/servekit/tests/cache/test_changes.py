"""What a write, a refresh, a tag or a pattern ends, here and in every worker."""

import asyncio

import redis.asyncio

from tests.stores.workers import Product, Source, is_named, until, worker


async def test_a_write_is_seen_by_the_writer_at_once_and_by_others_in_100_ms(redis_url):
    source = Source()
    async with worker(redis_url) as a, worker(redis_url) as b:
        first, second = source.cached(a), source.cached(b)
        await first(7)
        await second(7)

        await first.set(Product(id=7, name="Table"), 7)

        assert (await first(7)).name == "Table"
        await until(lambda: is_named(second, "Table"), seconds=0.1)
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
