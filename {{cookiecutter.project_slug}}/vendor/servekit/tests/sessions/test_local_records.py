"""A worker's own copies of sessions: as good as Redis, whoever writes."""

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from tests.sessions.copies import INVALIDATION_SECONDS, dead, has_copy, settled
from tests.stores.proxy import Proxy
from tests.stores.workers import session_worker as worker, until


@pytest.fixture
async def proxy(redis_server, redis_url):
    async with Proxy(str(redis_server.path)) as proxy:
        yield proxy


@asynccontextmanager
async def traffic(store, *tokens):
    """Read sessions all the time, as many requests do."""

    async def read():
        while True:
            await store.read(random.choice(tokens))
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(8)]
    try:
        yield
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


@pytest.fixture(params=[2, 3])
def url(redis_url, request):
    """The server, for pools on protocol 2 and on 3."""
    return f"{redis_url}?protocol={request.param}"


async def test_repeated_reads_do_not_ask_redis(url):
    async with worker(url) as store:
        token = await store.login(None, "ada", {"basket": b"[7]"})
        await settled(store, token)
        async with redis.asyncio.from_url(url) as operator:
            before = (await operator.info("commandstats"))["cmdstat_evalsha"]["calls"]
            for _ in range(100):
                record = await store.read(token)
            after = (await operator.info("commandstats"))["cmdstat_evalsha"]["calls"]

    assert (record.user_id, record.data) == ("ada", {"basket": b"[7]"})
    assert after == before


@pytest.mark.parametrize("end", ["logout", "revoke", "everywhere", "limit"])
async def test_an_end_on_one_worker_is_seen_on_the_others_under_traffic(url, end):
    async with worker(url, limit_per_user=2) as a, worker(url, limit_per_user=2) as b:
        token, other = await a.login(None, "ada", {}), await a.login(None, "ada", {})
        async with traffic(b, token, other):
            await settled(a, token)
            await settled(b, token)
            a._local._channel._on_keys = lambda _: None  # It needs nobody to tell it.
            if end == "logout":
                await a.delete(token.ref, user_id="ada")
            elif end == "revoke":
                assert await a.revoke("ada", token.ref)
            elif end == "everywhere":
                assert await a.delete_all("ada", keep=other.ref) == 1
            else:
                await a.login(None, "ada", {})
            assert await dead(a, token), "the worker that ends it knows at once"

            await until(lambda: dead(b, token), seconds=INVALIDATION_SECONDS)
            assert await b.read(other)


async def test_a_workers_own_writes_are_seen_by_its_next_read(url):
    async with worker(url) as store:
        token = await store.login(None, "ada", {})
        for turn in range(50):
            await settled(store, token)
            await store.update(token, {"turn": b"%d" % turn})
            assert (await store.read(token)).data["turn"] == b"%d" % turn


async def test_a_write_on_one_worker_is_read_on_the_others(url):
    async with worker(url) as a, worker(url) as b:
        token = await a.login(None, "ada", {})
        await settled(b, token)
        await a.update(token, {"turn": b"1"})

        async def updated():
            return (await b.read(token)).data.get("turn") == b"1"

        await until(updated, seconds=INVALIDATION_SECONDS)


async def test_a_rotation_holds_on_the_others_new_id_at_once_old_one_in_grace_only(url):
    async with (
        worker(url, rotation_grace_seconds=0.3) as a,
        worker(url, rotation_grace_seconds=0.3) as b,
    ):
        old = await a.login(None, "ada", {})
        await settled(b, old)
        new = await a.rotate(old, {})
        assert (await b.read(new)).user_id == "ada"

        async def graced():
            record = await b.read(old)
            return record and not record.current

        await until(graced, seconds=INVALIDATION_SECONDS)
        await settled(b, new)
        await asyncio.sleep(0.3)
        assert await dead(b, old)
        assert await b.read(new)


async def test_the_id_before_a_login_gains_nothing_on_the_others(url):
    async with worker(url) as a, worker(url) as b:
        planted = await a.create({"basket": b"[7]"})
        await settled(b, planted)
        await a.login(planted, "ada", {})

        async def worthless():
            record = await b.read(planted)
            return record.superseded and record.user_id is None and not record.data

        await until(worthless, seconds=INVALIDATION_SECONDS)


async def test_a_flush_of_the_database_ends_all(url):
    async with worker(url) as store, redis.asyncio.from_url(url) as operator:
        token = await store.create({}, user_id="ada")
        await settled(store, token)
        await operator.flushall()

        await until(lambda: dead(store, token), seconds=INVALIDATION_SECONDS)


@pytest.mark.parametrize("lifetime", ["idle_seconds", "absolute_seconds"])
async def test_a_copy_ends_with_its_session(redis_url, lifetime):
    options: dict[str, Any] = {lifetime: 0.4}
    async with worker(redis_url, **options) as store:
        token = await store.create({}, user_id="ada")
        await settled(store, token)
        # No invalidation comes yet: Redis drops what is over when it is asked, or some time later.
        store._local._channel._on_keys = lambda _: None
        created = time.monotonic()

        await until(lambda: dead(store, token), seconds=0.5)
        assert time.monotonic() - created > 0.1


async def test_an_invalidation_between_a_read_and_its_keeping_wins(proxy, redis_url):
    async with worker(proxy.url, channel_url=redis_url) as a, worker(redis_url) as b:
        token = await b.create({}, user_id="ada")
        await a.read(token)
        await b.update(token, {})
        await asyncio.sleep(0.05)
        proxy.latency_seconds = 0.05
        reading = asyncio.create_task(a.read(token))
        await asyncio.sleep(0.07)  # Redis has replied; the reply is on its way.
        await b.delete(token.ref, user_id="ada")

        assert (await reading).user_id == "ada", "it was asked for before the logout"
        assert not has_copy(a, token)
        assert await dead(a, token)


async def test_workers_that_write_and_end_at_random_agree_in_the_end(url):
    async with worker(url) as a, worker(url) as b, worker(url, local_bytes=0) as truth:
        tokens = [await a.create({}, user_id=str(n)) for n in range(20)]

        async def churn():
            for turn in range(40):
                store, token = random.choice((a, b)), random.choice(tokens)
                dice = random.random()
                if dice < 0.3:
                    await store.update(token, {"turn": b"%d" % turn})
                elif dice < 0.33:
                    await store.delete(token.ref, user_id=None)
                else:
                    await store.read(token)

        await asyncio.gather(*(churn() for _ in range(16)))

        async def agreed():
            true = [await truth.read(token) for token in tokens]
            return all([[await s.read(t) for t in tokens] == true for s in (a, b)])

        await until(agreed, seconds=INVALIDATION_SECONDS)


async def test_copies_take_no_more_than_their_share(redis_url):
    async with worker(redis_url, local_bytes=20_000) as store:
        tokens = [await store.create({"a": b"x" * 1000}, user_id="ada") for _ in range(50)]
        for token in tokens:
            assert await store.read(token)
        large = await store.create({"a": b"x" * 30_000}, user_id="ada")

        assert len((await store.read(large)).data["a"]) == 30_000
        assert 10_000 < store._local.size_bytes <= 20_000


async def test_at_zero_bytes_every_read_goes_to_redis(redis_url):
    async with worker(redis_url, local_bytes=0) as store:
        token = await store.create({}, user_id="ada")
        for _ in range(3):
            assert await store.read(token)
            assert not has_copy(store, token)
        assert not store.coherent
