import asyncio
import time

import pytest
import redis.asyncio

from servekit.cache.cache import Cache
from servekit.redis.clients import RedisClients
from servekit.resilience.breaker import CLOSED, OPEN
from servekit.testing import patience
from tests.stores.proxy import Proxy
from tests.stores.workers import Product, Source, settle, until, worker


@pytest.fixture
async def proxy(redis_server, redis_url):
    async with Proxy(str(redis_server.path)) as proxy:
        yield proxy


async def slowest(calls):
    """Run the calls and return what the slowest took."""

    async def timed(call):
        started = time.monotonic()
        await call()
        return time.monotonic() - started

    return max([await timed(call) for call in calls])


async def test_a_cache_starts_without_redis():
    source = Source()
    async with RedisClients("redis://127.0.0.1:1") as clients, Cache(clients) as cache:
        product = source.cached(cache)

        assert (await product.lookup(7)).state == "miss"
        assert not cache.coherent
        await product.set(Product(id=7, name="Table"), 7)
        assert (await product(7)).name == "Table"
        await product.delete(7)
        await cache.invalidate_tag("a")
        assert await cache.delete_pattern("*") == 0
        assert await cache.get("a", int) is None
        assert await cache.get_many(["a"], int) == {}
        await cache.set_many({"a": 1}, ttl_seconds=1)


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
async def test_while_redis_is_away_stale_values_are_served_and_calls_are_short(proxy, fault):
    source = Source()
    async with worker(proxy.url, budget=0.1) as cache:
        product = source.cached(cache, stale_seconds=60)
        await settle(cache, product, range(20))

        if fault == "refuses":
            await proxy.refuse()
        else:
            proxy.black_hole = True
        await until(lambda: not cache.coherent)
        states, began, before = [], time.monotonic(), source.loads

        async def read(number):
            states.append((await product.lookup(number)).state)

        calls = [lambda number=number: read(number) for number in range(20)] * 5
        assert await slowest(calls) < patience(0.5)
        assert set(states) == {"stale"}
        started = time.monotonic()
        assert (await product.lookup(99)).state == "miss", "what nobody has is loaded"
        assert time.monotonic() - started < patience(0.5)
        rounds = 1 + int(time.monotonic() - began)
        assert source.loads - before < 20 * rounds + 5, "each key is loaded at most once a second"


async def test_a_silent_redis_opens_the_breaker_within_a_second(proxy):
    async with RedisClients(proxy.url) as clients, Cache(clients) as cache:
        product = Source().cached(cache)
        await product(0)
        proxy.black_hole = True
        breaker, started = clients.breakers["cache"], time.monotonic()
        number = 0
        while breaker.state != OPEN:
            number += 1
            await product(number)
        assert time.monotonic() - started < patience(1)

        later = [await slowest([lambda n=n: product(n)]) for n in range(1000, 1010)]
        assert min(later) < 0.05, "none waits for its budget"


async def test_a_load_while_redis_is_away_is_kept_though_the_channel_fails_to_come_back(proxy):
    source = Source(0.2)
    async with worker(proxy.url, budget=0.1) as cache:
        product = source.cached(cache, stale_seconds=60)
        await proxy.refuse()
        await until(lambda: not cache.coherent)

        assert (await product.lookup(7)).state == "miss"
        assert (await product.lookup(7)).state == "stale"


async def test_silence_of_the_channel_spares_the_callers_a_wait(proxy):
    source = Source()
    async with worker(proxy.url, budget=0.6) as cache:
        product = source.cached(cache, stale_seconds=60)
        await settle(cache, product, range(50))
        proxy.black_hole = True
        await until(lambda: not cache.coherent)

        async def read(number):
            assert (await product.lookup(number)).state == "stale"

        # None of them is the one who finds out: their refreshes are.
        assert await slowest([lambda n=n: read(n) for n in range(50)]) < 0.5


async def test_a_slow_redis_costs_its_budget_and_local_hits_nothing(proxy):
    async with worker(proxy.url, budget=0.5) as cache:
        product = Source().cached(cache)
        await settle(cache, product, range(7, 8))
        proxy.latency_seconds = 0.5

        assert await slowest([lambda: product(7)] * 100) < 0.4
        assert await slowest([lambda: product(8)]) < patience(2)


async def test_the_cache_recovers_soon_after_redis(proxy):
    source = Source()
    async with RedisClients(proxy.url) as clients, Cache(clients) as cache:
        product = source.cached(cache)
        await until(lambda: cache.coherent)
        await product(7)
        await proxy.refuse()
        for number in range(20):
            await product(number)
        assert clients.breakers["cache"].state == OPEN

        await proxy.accept()
        await until(lambda: cache.coherent)
        await until(lambda: _is_hit(product))
        assert clients.breakers["cache"].state == CLOSED


async def _is_hit(product):
    return (await product.lookup(7)).state == "hit"


async def test_removals_are_made_up_for_before_the_cache_is_trusted(proxy, redis_url):
    source = Source()
    async with worker(proxy.url, budget=0.1) as a, worker(redis_url) as b:
        first, second = source.cached(a, tags=("products",)), source.cached(b, tags=("products",))
        for number in range(4):
            await first(number)
            await second(number)
        await proxy.refuse()

        await first.delete(0)
        await first.set(Product(id=1, name="Table"), 1)
        assert (await first(1)).name == "Table"
        await a.delete_pattern("product:2")
        await proxy.accept()
        await until(lambda: a.coherent)

        await until(lambda: _all_gone(second, range(3)), seconds=0.2)
        assert await second.get_cached(3) is not None
        await proxy.refuse()
        await a.invalidate_tag("products")
        await proxy.accept()
        await until(lambda: _all_gone(second, [3]))


async def _all_gone(product, numbers):
    return not [number for number in numbers if await product.get_cached(number)]


async def test_a_removal_whose_caller_hung_up_is_still_made(proxy, redis_url):
    source = Source()
    async with worker(proxy.url) as cache, redis.asyncio.from_url(redis_url) as client:
        product = source.cached(cache)
        await product(7)
        proxy.latency_seconds = 0.02
        caller = asyncio.create_task(product.delete(7))
        await asyncio.sleep(0.005)

        caller.cancel()

        await until(lambda: _no_keys(client))


async def _no_keys(client):
    return await client.dbsize() == 0


async def test_half_of_all_answers_lost_cost_no_errors(proxy):
    source = Source()
    async with worker(proxy.url) as cache:
        product = source.cached(cache)
        proxy.failing = 0.5

        values = await asyncio.gather(*(product(number % 30 + 1) for number in range(300)))

        assert [value.id for value in values] == [number % 30 + 1 for number in range(300)]
