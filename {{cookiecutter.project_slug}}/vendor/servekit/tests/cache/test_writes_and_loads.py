"""Whoever reads after a write gets what was written, whatever was being loaded meanwhile."""

import asyncio
import itertools
from functools import partial
from typing import Any

import pytest

from tests.stores.proxy import Proxy
from tests.stores.workers import settle, until, worker

WRITES = ["delete", "delete_pattern", "refresh", "set", "tag"]


class Gated:
    """A source of one number; loads read it at their start, and may have to wait after that."""

    def __init__(self) -> None:
        self.version = 0
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def load(self, key: int) -> int:
        version = self.version
        if not self.open.is_set():
            self.waiting += 1
            await self.open.wait()
        return version


async def write(cache, function, kind, value):
    if kind == "delete":
        await function.delete(7)
    elif kind == "delete_pattern":
        await cache.delete_pattern("gated:*")
    elif kind == "refresh":
        assert await function.refresh(7) == value
    elif kind == "set":
        await function.set(value, 7)
    else:
        await cache.invalidate_tag("gated")


async def heard(writer, readers):
    """Return when the others have heard of all that was written before."""
    await writer.set("mark", (mark := await writer.get("mark", int, 0) + 1), ttl_seconds=60)
    for reader in readers:
        await until(partial(_is, reader, mark))


async def _is(reader, mark):
    return await reader.get("mark", int, 0) == mark


@pytest.mark.parametrize("before", ["nothing", "a stale value"])
@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize(("loader", "writer"), list(itertools.product((0, 1), repeat=2)))
async def test_a_write_wins_over_a_load_under_way(redis_url, kind, loader, writer, before):
    async with worker(redis_url) as a, worker(redis_url) as b:
        source, caches = Gated(), (a, b)
        # A tag that is new makes callers of its loads begin anew: it would hide the other ways.
        tags = ("gated",) if kind == "tag" else ()
        options: dict[str, Any] = {"ttl_seconds": 60, "jitter": 0, "tags": tags}
        if before != "nothing":
            options |= {"ttl_seconds": 0.05, "stale_seconds": 60}
        functions = [cache.cached("gated:{key}", **options)(source.load) for cache in caches]
        await a.set("mark", 0, ttl_seconds=60)
        if before != "nothing":
            await functions[loader](7)
            await asyncio.sleep(0.06)
        source.open.clear()
        loads = [asyncio.ensure_future(functions[loader](7)) for _ in range(3)]
        await until(lambda: source.waiting)

        old, source.open = source.open, asyncio.Event()
        source.open.set()
        source.version = 1
        await write(caches[writer], functions[writer], kind, 1)
        await heard(caches[writer], caches)
        later = [asyncio.ensure_future(each(7)) for each in functions for _ in range(3)]
        await asyncio.sleep(0.02)
        old.set()

        assert set(await asyncio.gather(*later)) == {1}
        assert set(await asyncio.gather(*loads)) <= {0, 1}, "they asked before"
        for each in functions:
            assert await each(7) == 1


@pytest.mark.parametrize("kind", ["delete", "delete_pattern", "set"])
@pytest.mark.parametrize("writer", [0, 1])
async def test_a_write_wins_over_a_refresh_under_way(redis_url, kind, writer):
    async with worker(redis_url) as a, worker(redis_url) as b:
        source, caches = Gated(), (a, b)
        functions = [cache.cached("gated:{key}", ttl_seconds=60)(source.load) for cache in caches]
        await a.set("mark", 0, ttl_seconds=60)
        await functions[0](7)
        source.open.clear()
        refresh = asyncio.ensure_future(functions[0].refresh(7))
        await until(lambda: source.waiting)

        old, source.open = source.open, asyncio.Event()
        source.open.set()
        source.version = 1
        await write(caches[writer], functions[writer], kind, 1)
        await heard(caches[writer], caches)
        old.set()

        assert await refresh == 0, "it asked before"
        assert [await each(7) for each in functions] == [1, 1]


async def test_a_refresh_calls_the_function_each_time_and_one_at_a_time_stores(redis_url):
    async with worker(redis_url) as a, worker(redis_url) as b:
        source = Gated()
        functions = [cache.cached("gated:{key}", ttl_seconds=60)(source.load) for cache in (a, b)]
        for version in range(1, 6):
            source.version = version
            values = await asyncio.gather(*(each.refresh(7) for each in functions))
            assert values == [version, version]
            await until(partial(_reads, functions, version))


async def _reads(functions, value):
    return {await each(7) for each in functions} == {value}


async def test_of_two_sets_at_once_the_last_to_reach_redis_stays_in_every_worker(redis_url):
    async with worker(redis_url) as a, worker(redis_url) as b:
        source = Gated()
        functions = [cache.cached("gated:{key}", ttl_seconds=60)(source.load) for cache in (a, b)]
        await asyncio.gather(*(each.set(n, 7) for n, each in enumerate(functions, 1)))

        stored = await a._reader.redis.get("gated:7")
        assert stored is not None
        await until(partial(_reads, functions, int(stored[-1:])))


@pytest.mark.parametrize("kind", WRITES)
async def test_without_redis_a_write_wins_in_its_own_worker(redis_server, redis_url, kind):
    async with Proxy(str(redis_server.path)) as proxy, worker(proxy.url, budget=0.5) as cache:
        source = Gated()
        options: dict[str, Any] = {"ttl_seconds": 60, "tags": ("gated",)}
        function = cache.cached("gated:{key}", **options)(source.load)
        await settle(cache, function, range(8, 9))
        await proxy.refuse()
        await until(lambda: not cache.coherent)
        source.open.clear()
        load = asyncio.ensure_future(function(7))
        await until(lambda: source.waiting)

        old, source.open = source.open, asyncio.Event()
        source.open.set()
        source.version = 1
        await write(cache, function, kind, 1)
        later = asyncio.ensure_future(function(7))
        await asyncio.sleep(0.05)
        old.set()

        assert await later == 1
        assert await load in {0, 1}
        assert await function(7) == 1
        assert await function(8) == (kind in {"delete_pattern", "tag"})
