"""A removal that failed leaves something in Redis: nobody here is served any of it."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from servekit.cache.cache import Cache
from servekit.errors import StoreUnavailable
from servekit.response_cache.layer import ResponseCacheMiddleware
from servekit.testing import patience
from tests.asgi import call, routes_of
from tests.response_cache.origin import Origin
from tests.stores.workers import until, worker


@pytest.mark.parametrize("way", ["key", "pattern", "tag"])
async def test_the_worker_that_removes_never_serves_the_old_value_again(
    redis_url, way, monkeypatch
):
    value = "old"

    async with worker(redis_url) as cache:
        writer = cache._writer._redis

        @cache.cached("thing:{number}", ttl_seconds=60, tags=("things",))
        async def thing(number: int) -> str:
            return value

        async def refuse(*_, **__):
            raise StoreUnavailable("once")

        assert await thing(1) == "old"
        value = "new"
        with monkeypatch.context() as once:
            if way == "tag":
                once.setattr(writer, "new_tag_version", refuse)
                await cache.invalidate_tag("things")
            elif way == "key":
                once.setattr(writer, "remove", refuse)
                await thing.delete(1)
            else:
                once.setattr(writer, "remove_matching", lambda _: Failing())
                await cache.delete_pattern("thing:*")
            assert cache._coherence.outbox._pending
            for _ in range(3):
                assert await thing(1) == "new"
        await until(lambda: not cache._coherence.outbox._pending)
        assert await thing(1) == "new"


class Failing:
    def __aiter__(self):
        return self

    async def __anext__(self):
        raise StoreUnavailable("once")


async def test_what_was_set_in_an_outage_ends_with_its_tag(redis_url):
    async with worker(redis_url) as cache:

        @cache.cached("thing:{number}", ttl_seconds=60, tags=("t:{number}",))
        async def thing(number: int) -> str:
            return "new"

        async def refuse(*_, **__):
            raise StoreUnavailable("away")

        cache._reader.redis.read = refuse  # type: ignore[method-assign] # Redis is away
        cache._reader.redis.get = refuse  # type: ignore[method-assign] # as above
        cache._writer._redis.set = refuse  # type: ignore[method-assign] # as above
        cache._writer._redis.new_tag_version = refuse  # type: ignore[method-assign] # as above
        await thing.set("old", 1)
        await thing.set("kept", 2)
        await cache.invalidate_tag("t:1")
        assert await thing(1) == "new"
        assert await thing(2) == "kept"


async def test_a_tag_is_ended_by_what_the_template_says_whatever_the_value(redis_url):
    async with worker(redis_url) as cache:

        @cache.cached("user:{sub}", ttl_seconds=60, tags=("user:{sub}",))
        async def user(sub: str) -> str:
            return sub

        for sub in ("google:123", "50%", "a:b:c%3A", "7"):
            await user(sub)
            assert (await user.lookup(sub)).state == "hit"
            await cache.invalidate_tag(f"user:{sub}")
            assert (await user.lookup(sub)).state == "miss"


@pytest.mark.parametrize("key", ["", " ", "}x", " }x", "}", "  "])
async def test_other_workers_drop_their_copy_whatever_the_key(redis_url, key):
    async with worker(redis_url) as one, worker(redis_url) as two:
        for other in ("", " ", "}x", " }x", "}", "  "):
            await one.set(other, other, ttl_seconds=60)
        assert await two.get(key, str) == key
        await until(lambda: _is_local(two, key))
        await one.set(key, "new", ttl_seconds=60)
        await until(lambda: _reads(two, key, "new"))


async def _is_local(cache, key):
    await cache.get(key, str)
    return cache._coherence.local.held.get(key, None) is not None


async def _reads(cache, key, value):
    return await cache.get(key, str) == value


async def test_many_entries_with_tags_are_read_in_two_round_trips(redis_url, monkeypatch):
    async with worker(redis_url) as one, worker(redis_url) as two:
        for number in range(50):
            await one.set(f"k:{number}", number, ttl_seconds=60, tags=(f"t:{number}",))
        reads = []
        read = two._reader.redis.read

        async def counted(keys, tags):
            reads.append((len(keys), len(tags)))
            return await read(keys, tags)

        monkeypatch.setattr(two._reader.redis, "read", counted)
        found = await two.get_many([f"k:{number}" for number in range(50)], int)
        assert found == {f"k:{number}": number for number in range(50)}
        assert reads == [(50, 0), (0, 50)]


async def test_bytes_of_any_version_are_kept(redis_url):
    loads = []
    async with worker(redis_url) as cache:

        @cache.cached("raw", ttl_seconds=60, version="2")
        async def raw() -> bytes:
            loads.append(1)
            return b"\xff\x00"

        assert [await raw() for _ in range(3)] == [b"\xff\x00"] * 3
    assert loads == [1]


async def test_a_load_longer_than_its_lease_runs_once_in_all_workers(redis_url):
    loads = []
    async with (
        worker(redis_url, lease_seconds=0.5) as one,
        worker(redis_url, lease_seconds=0.5) as two,
    ):

        def declared(cache: Cache):
            @cache.cached("slow", ttl_seconds=60)
            async def slow() -> int:
                loads.append(1)
                await asyncio.sleep(1.5)
                return len(loads)

            return slow

        assert [*await asyncio.gather(declared(one)(), declared(two)())] == [1, 1]
    assert loads == [1]


@pytest.mark.parametrize("way", ["set", "set_many"])
async def test_what_is_set_after_a_removal_that_failed_is_there_and_stays(
    redis_url, way, monkeypatch
):
    async with worker(redis_url) as cache:
        writer = cache._writer._redis

        async def refuse(*_, **__):
            raise StoreUnavailable("once")

        await cache.set("k", "old", ttl_seconds=60)
        with monkeypatch.context() as once:
            once.setattr(writer, "remove", refuse)
            await cache.delete("k")
        if way == "set":
            await cache.set("k", "new", ttl_seconds=60)
        else:
            await cache.set_many({"k": "new"}, ttl_seconds=60)
        assert await cache.get("k", str) == "new"
        await asyncio.sleep(0.5)  # past the time at which the outbox is flushed
        assert await cache.get("k", str) == "new"


@pytest.mark.parametrize("has_stale", [True, False])
async def test_a_load_that_fails_makes_no_queue_of_workers(redis_url, has_stale):
    """Those who waited for it load at once, or serve what they have."""
    async with AsyncExitStack() as stack:
        caches = [await stack.enter_async_context(worker(redis_url)) for _ in range(5)]
        origin = Origin(ttl_seconds=1, stale_seconds=0)
        origin.headers = {"cache-control": "max-age=1, stale-if-error=60"}
        layers = [
            ResponseCacheMiddleware(origin.app, cache=cache, routes=routes_of(origin.app))
            for cache in caches
        ]
        if has_stale:
            assert (await call(layers[0], "/page")).status == 200
            await asyncio.sleep(1.2)
        origin.status, origin.delay = 500, 0.5
        began = time.monotonic()
        answers = await asyncio.gather(*(call(layer, "/page") for layer in layers))
        assert time.monotonic() - began < patience(1.6)
        assert {answer.status for answer in answers} == {200 if has_stale else 500}


async def test_a_load_from_before_a_removal_that_failed_is_not_kept(redis_url):
    value, loads, go_on = "old", [], asyncio.Event()

    async with worker(redis_url) as cache:

        @cache.cached("thing", ttl_seconds=60)
        async def thing() -> str:
            loads.append(value)
            read = value
            await go_on.wait()
            return read

        async def refuse(*_, **__):
            raise StoreUnavailable("once")

        early = asyncio.create_task(thing())
        await until(lambda: loads)
        value = "new"
        redis, remove = cache._writer._redis, cache._writer._redis.remove
        redis.remove = refuse  # type: ignore[method-assign] # Redis is away for a moment
        await thing.delete()
        redis.remove = remove  # type: ignore[method-assign] # and is back
        go_on.set()
        await early
        assert await thing() == "new"
        async with worker(redis_url) as other:
            await until(lambda: not cache._coherence.outbox._pending)
            assert await other.get("thing", str) in {None, "new"}


@pytest.mark.parametrize("way", ["set", "set_many"])
async def test_a_removal_that_fails_while_an_older_value_is_on_its_way_is_made(redis_url, way):
    async with worker(redis_url) as cache:
        redis = cache._writer._redis
        on_its_way, reply, write = asyncio.Event(), asyncio.Event(), getattr(redis, way)

        async def slowly(*arguments, **options):
            await write(*arguments, **options)
            on_its_way.set()
            await reply.wait()

        async def refuse(*_, **__):
            raise StoreUnavailable("once")

        setattr(redis, way, slowly)
        if way == "set":
            setting = asyncio.create_task(cache.set("k", "old", ttl_seconds=60))
        else:
            setting = asyncio.create_task(cache.set_many({"k": "old"}, ttl_seconds=60))
        await on_its_way.wait()
        remove = redis.remove
        redis.remove = refuse  # type: ignore[method-assign] # Redis is away for a moment
        await cache.delete("k")
        redis.remove = remove  # type: ignore[method-assign] # and is back
        reply.set()
        await setting
        await until(lambda: not cache._coherence.outbox._pending)
        async with worker(redis_url) as other:
            assert await other.get("k", str) is None
