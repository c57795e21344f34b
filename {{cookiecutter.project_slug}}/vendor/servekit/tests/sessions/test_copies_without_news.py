"""What a worker believes of its copies while nobody tells it of changes."""

import asyncio
import time

import pytest
import redis.asyncio

from servekit.errors import StoreUnavailable
from servekit.testing import patience
from tests.sessions.copies import BOUND_SECONDS, INVALIDATION_SECONDS, dead, settled
from tests.stores.proxy import Proxy
from tests.stores.workers import session_worker as worker, until


@pytest.fixture
async def proxy(redis_server, redis_url):
    async with Proxy(str(redis_server.path)) as proxy:
        yield proxy


async def test_a_killed_channel_leaves_no_copies(redis_url):
    async with (
        worker(redis_url) as a,
        worker(redis_url) as b,
        redis.asyncio.from_url(redis_url) as operator,
    ):
        token = await a.create({}, user_id="ada")
        await settled(b, token)
        for one in await operator.client_list():
            if "t" in one["flags"] or "B" in one["flags"]:
                await operator.client_kill_filter(_id=one["id"])
        await a.delete(token.ref, user_id="ada")

        await until(lambda: dead(b, token), seconds=INVALIDATION_SECONDS)
        await until(lambda: b.coherent)
        assert await dead(b, token)


async def test_a_silent_channel_keeps_a_revoked_session_no_longer_than_a_second(proxy, redis_url):
    async with worker(redis_url) as a, worker(redis_url, channel_url=proxy.url) as b:
        token = await a.create({}, user_id="ada")
        await settled(b, token)
        proxy.black_hole = True
        await a.delete(token.ref, user_id="ada")

        await until(lambda: dead(b, token), seconds=BOUND_SECONDS)
        assert not b.coherent


async def test_a_worker_that_stood_still_believes_no_copy(redis_url):
    async with worker(redis_url) as store:
        token = await store.create({}, user_id="ada")
        await settled(store, token)
        with redis.Redis.from_url(redis_url) as client:
            client.delete("service:session:" + token.ref)
            time.sleep(1.05)  # noqa: ASYNC251 - this is what it is about
        assert await dead(store, token)

        token = await store.create({}, user_id="ada")
        await settled(store, token)


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
async def test_without_redis_nobody_is_anybody_for_longer_than_a_second(proxy, fault):
    async with worker(proxy.url, budget=0.25) as store:
        token = await store.create({}, user_id="ada")
        await settled(store, token)
        if fault == "refuses":
            await proxy.refuse()
        else:
            proxy.black_hole = True
        began = time.monotonic()
        # The first that no copy answers waits for Redis, for its budget.
        with pytest.raises(StoreUnavailable):
            await until(lambda: dead(store, token), seconds=BOUND_SECONDS + 0.25)
        assert time.monotonic() < began + patience(BOUND_SECONDS + 0.25)

        proxy.black_hole = False
        if fault == "refuses":
            await proxy.accept()
        await until(lambda: store.coherent)
        await settled(store, token)


async def test_a_steady_channel_stays_proven(redis_url):
    async with worker(redis_url) as a, worker(redis_url) as b:
        token = await a.create({}, user_id="ada")
        began = time.monotonic()
        while time.monotonic() < began + 1.5:  # pushes all the time: a question must fit between
            await a.update(token, {})
            await asyncio.sleep(0.002)
            assert b.coherent
