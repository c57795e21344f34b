"""One load answers all who wait for it, in one process and in several."""

import asyncio
import contextvars
import time

import redis.asyncio

from servekit.cache.cache import Cache
from servekit.testing import patience
from tests.stores.workers import Product, Source, until, worker

caller = contextvars.ContextVar("caller", default="nobody")


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
