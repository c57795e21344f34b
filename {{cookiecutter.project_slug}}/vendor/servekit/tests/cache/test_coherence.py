import asyncio
import random
import time
from functools import partial
from typing import Any

import pytest
import redis.asyncio

from servekit.redis.embedded import EmbeddedServer
from servekit.testing import patience
from tests.stores.proxy import Proxy
from tests.stores.workers import Product, Source, until, worker


def with_protocol(url, protocol):
    return f"{url}?protocol={protocol}"


@pytest.fixture(params=[2, 3])
def url(redis_url, request):
    """The server, for pools on protocol 2 and on 3."""
    return with_protocol(redis_url, request.param)


async def test_another_workers_write_drops_the_local_value(url):
    source = Source()
    async with worker(url) as a, worker(url) as b:
        first, second = source.cached(a), source.cached(b)
        await first.set(Product(id=7), 7)
        await second(7)
        assert (await second.lookup(7)).tier == "local"

        await first.set(Product(id=7, name="Table"), 7)

        await until(lambda: _is(second, "Table"), seconds=0.5)
        assert (await second.lookup(7)).tier == "local"


async def test_a_key_that_is_loaded_ahead_stays_local_in_every_worker(redis_url):
    source = Source(0.01)
    async with worker(redis_url) as a, worker(redis_url) as b:
        functions = [source.cached(c, ttl_seconds=0.2, stale_seconds=60) for c in (a, b)]
        for product in functions:
            await product(7)
            await product(7)
        tiers: list[str] = []
        while source.loads <= 3 or len(tiers) < 400:
            tiers += [(await product.lookup(7)).tier for product in functions]
            await asyncio.sleep(0.005)
        assert tiers.count("local") > 0.9 * len(tiers)


async def _is(product, name):
    return (await product(7)).name == name


async def test_two_writers_racing_on_300_keys_leave_nothing_stale(url):
    source, keys = Source(), range(300)
    async with worker(url) as a, worker(url) as b, worker(url, local_bytes=0) as redis_only:
        first, second, truth = (source.cached(cache) for cache in (a, b, redis_only))

        async def write(number, product):
            for turn in range(2):
                name = f"{turn}-{random.random()}"
                await product.set(Product(id=number, name=name), number)
                await product(number)

        await asyncio.gather(*(write(number, f) for number in keys for f in (first, second)))

        for product in (first, second):
            await until(partial(_true_and_local, product, truth, keys))
        assert source.loads == 0


async def _true_and_local(product, truth, keys):
    values = [await product(n) for n in keys] == [await truth(n) for n in keys]
    return values and {(await product.lookup(n)).tier for n in keys} == {"local"}


async def test_writers_and_deleters_and_readers_agree_in_the_end(redis_url):
    async with worker(redis_url) as a, worker(redis_url) as b:
        versions = dict.fromkeys(range(20), 0)
        functions = []

        for cache in (a, b):

            @cache.cached("number:{key}", ttl_seconds=60, stale_seconds=60)
            async def number(key: int) -> int:
                value = versions[key]
                await asyncio.sleep(random.random() * 0.003)
                return value

            functions.append(number)

        async def churn():
            for _ in range(60):
                key, function = random.randrange(20), random.choice(functions)
                if random.random() < 0.4:
                    versions[key] += 1
                    await function.delete(key)
                else:
                    await function(key)

        await asyncio.gather(*(churn() for _ in range(16)))
        await asyncio.sleep(0.05)

        for function in functions:
            assert {key: await function(key) for key in versions} == versions


async def test_an_invalidation_between_a_read_and_its_fill_wins(redis_url):
    source = Source()
    async with (
        redis.asyncio.from_url(redis_url) as client,
        worker(redis_url) as a,
        worker(redis_url) as b,
    ):
        product = source.cached(a)
        await source.cached(b).set(Product(id=7), 7)
        tier: Any = a._reader.redis
        get = tier.get

        async def slow(key):
            data = await get(key)
            await source.cached(b).set(Product(id=7, name="Table"), 7)
            await asyncio.sleep(0.02)  # The invalidation arrives here, before the fill.
            return data

        tier.get = slow
        await product(7)
        tier.get = get

        assert (await product(7)).name == "Table"
        assert await client.dbsize() == 1


async def tier_of(cache):
    return (await cache.lookup("a", int)).tier


async def test_a_flush_of_the_database_empties_the_local_tier(redis_url):
    async with redis.asyncio.from_url(redis_url) as client, worker(redis_url) as cache:
        await cache.set("a", 1, ttl_seconds=60)
        await cache.get("a", int)

        await client.flushall()

        await until(lambda: _absent(cache, "a"), seconds=0.5)


async def _absent(cache, key):
    return await cache.get(key, int) is None


async def test_a_killed_channel_bypasses_the_local_tier_until_it_is_back(redis_url):
    async with redis.asyncio.from_url(redis_url) as client, worker(redis_url) as cache:
        await cache.set("a", 1, ttl_seconds=60)
        await cache.get("a", int)
        assert await tier_of(cache) == "local"
        epoch = cache._reader.local.epoch

        for one in await client.client_list():
            if "t" in one["flags"] or "B" in one["flags"]:
                await client.client_kill_filter(_id=one["id"])
        await until(lambda: cache._reader.local.epoch != epoch, seconds=0.5)

        assert await tier_of(cache) == "redis", "the old epoch is no hit"
        await until(lambda: cache.coherent)
        await cache.get("a", int)
        assert await tier_of(cache) == "local"


async def test_without_the_channel_every_read_goes_to_redis(redis_url):
    async with redis.asyncio.from_url(redis_url) as client, worker(redis_url) as cache:
        await cache.set("a", 1, ttl_seconds=60)
        await until(lambda: _is_local(cache))
        channel: Any = cache._coherence._channel
        connect, channel._connect = channel._connect, _refuse
        for one in await client.client_list():
            if "t" in one["flags"]:
                await client.client_kill_filter(_id=one["id"])
        await until(lambda: not cache.coherent)

        assert [await tier_of(cache) for _ in range(3)] == ["redis"] * 3

        channel._connect = connect
        await until(lambda: _is_local(cache))


async def _is_local(cache):
    return await tier_of(cache) == "local"


async def _refuse():
    raise ConnectionRefusedError


async def test_what_was_written_while_the_channel_was_down_is_seen(redis_server, redis_url):
    source = Source()
    async with (
        Proxy(str(redis_server.path)) as proxy,
        worker(proxy.url) as a,
        worker(redis_url) as b,
    ):
        product = source.cached(a)
        await product(7)
        await product(7)
        proxy.reset()
        await source.cached(b).set(Product(id=7, name="Table"), 7)

        await until(lambda: _is(product, "Table"), seconds=0.5)
        await until(lambda: a.coherent)
        assert await _is(product, "Table")


async def test_a_silent_channel_is_found_out(redis_server):
    async with Proxy(str(redis_server.path)) as proxy, worker(proxy.url) as cache:
        proxy.black_hole = True
        started = time.monotonic()
        await until(lambda: not cache.coherent)
        assert time.monotonic() - started < patience(1.5)

        accepted = proxy.accepted
        await until(lambda: proxy.accepted > accepted)
        proxy.black_hole = False  # What was connected meanwhile stays without its answer.
        await until(lambda: cache.coherent)


async def test_a_blocked_event_loop_catches_up(redis_url):
    async with worker(redis_url) as cache:
        await cache.set("a", 1, ttl_seconds=60)
        await cache.get("a", int)
        with redis.Redis.from_url(redis_url) as client:
            client.delete("service:cache:e:{a}")
            time.sleep(0.3)  # noqa: ASYNC251 - this is what it is about

        await until(lambda: _absent(cache, "a"), seconds=0.5)
        assert cache.coherent


async def test_a_restarted_redis_leaves_nothing_stale():
    source = Source()
    with EmbeddedServer() as old, EmbeddedServer() as new:
        async with Proxy(str(old.path)) as proxy, worker(proxy.url) as a, worker(proxy.url) as b:
            first, second = source.cached(a), source.cached(b)
            await first(7)
            await second(7)

            await proxy.refuse()
            proxy.upstream = str(new.path)
            await proxy.accept()
            await until(lambda: a.coherent and b.coherent)
            source.names[7] = "Table"

            assert (await first(7)).name == "Table"
            assert (await second(7)).name == "Table"
