"""Every answer of Redis reaches the one who asked, and every write the primary."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.faults.redis_servers import sentinel_group, toxic_redis
from chaos.report import Figure, at_least, at_most, case, exactly, timed
from chaos.targets import Target
from chaos.traffic.client import Request
from chaos.traffic.load import Load
from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.sessions.store import SessionStore

KEYS = 100
AT_ONCE = 200
LATENCY_SECONDS = 0.1
OK = 200

Read = Callable[[int], Awaitable[bool]]
"""Reads what belongs to a number; returns whether that came back."""


@contextlib.asynccontextmanager
async def readers(target: Target, url: str) -> AsyncIterator[list[Read]]:
    """Give what reads keys and sessions: the service's clients, or redis-py with its defaults."""
    if target.plain:
        async with Redis.from_url(url) as redis:
            for number in range(KEYS):
                await redis.set(f"key:{number}", number)

            async def read_plain(number: int) -> bool:
                return await redis.get(f"key:{number}") in {str(number).encode(), None}

            yield [read_plain]
        return
    async with RedisClients(
        url,
        connections=AT_ONCE,
        connect_timeout_seconds=5,
        cache_timeout_seconds=5,
        session_timeout_seconds=5,
    ) as clients:
        sessions = SessionStore(clients, secret_keys=["chaos"], local_bytes=0)
        tokens = [await sessions.login(None, f"user-{number}", {}) for number in range(KEYS)]
        for number in range(KEYS):
            await clients.cache.set(f"key:{number}", number)

        async def read_key(number: int) -> bool:
            return bool(await clients.cache.get(f"key:{number}") == str(number).encode())

        async def read_session(number: int) -> bool:
            found = await sessions.read(tokens[number])
            return found is not None and found.user_id == f"user-{number}"

        yield [read_key, read_session]


@case(16, "10,000 commands cancelled at random, behind 100 ms")
async def cancelled(target: Target) -> list[Figure]:
    """Cancel commands anywhere between their sending and their answer."""
    count = int(target.pace(10_000, 2_000))
    async with toxic_redis() as (proxy, _), readers(target, proxy.url) as reads:
        proxy.latency_seconds = LATENCY_SECONDS
        answered = wrong = stopped = 0
        places = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            nonlocal answered, wrong, stopped
            number, read = random.randrange(KEYS), random.choice(reads)
            task = asyncio.ensure_future(read(number))
            # Some are cancelled while they connect, some while they wait, some too late: on a slow
            # machine no command that has to connect first is answered in the shorter time.
            longest = random.choice([2, 16]) * LATENCY_SECONDS
            asyncio.get_running_loop().call_later(random.uniform(0, longest), task.cancel)
            try:
                right = await task
                answered, wrong = answered + 1, wrong + (not right)
            except asyncio.CancelledError:
                stopped += 1
            except (RedisError, StoreUnavailable):
                pass
            finally:
                places.release()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                await places.acquire()
                tasks.create_task(one())
        proxy.latency_seconds = 0
        asked = [(number, read) for number in range(KEYS) for read in reads]
        late = [await read(number) for number, read in asked]
    return [
        timed(at_least("commands cancelled on their way", stopped, 0.3 * count)),
        timed(at_least("commands answered", answered, 0.02 * count)),
        exactly("answers that reached another", wrong, 0),
        exactly("wrong answers afterwards", late.count(False), 0),
    ]


@case(17, "failover: a sentinel promotes the replica")
async def failover(target: Target) -> list[Figure]:
    """Write at 100 a second, with a key of its own each time, through a failover."""
    async with (
        sentinel_group() as (group, watcher),
        target.start(REDIS_URL=group.url) as running,
    ):
        seconds = 12
        writes = [
            Request(f"/chaos/store/redis/{n}/{n}", method="PUT") for n in range(seconds * 100)
        ]
        load = Load(running.url, timeout=10, keep_answers=True, in_turn=10)
        begin = time.perf_counter()
        sending = asyncio.create_task(load.run(writes, rate=100, seconds=seconds))
        await asyncio.sleep(2)
        await watcher.execute_command("SENTINEL", "FAILOVER", "main")
        while await group.primary_now(watcher) != group.replica:  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.01)
        promoted = time.perf_counter() - begin
        outcome = await sending
        late = [
            one.request.path
            for one in outcome.samples
            if one.status == OK and one.scheduled > promoted + 2
        ]
        keys = [f"raw:{path.rsplit('/', 1)[1]}" for path in late]
        async with Redis(port=group.replica) as primary:
            role = (await primary.execute_command("ROLE"))[0]
            lost = (await primary.mget(keys)).count(None) if keys else 0
    failed = [one.scheduled for one in outcome.samples if one.status != OK]
    answers = [one.answer.body for one in outcome.samples if one.answer is not None]
    return [
        exactly("the replica was promoted", str(role), "b'master'"),
        timed(
            at_most(
                "s from promotion to the last failed write", max(failed, default=0) - promoted, 2
            )
        ),
        exactly("answers that say READONLY", sum(b"READONLY" in body for body in answers), 0),
        exactly("answers of 500", outcome.statuses[500], 0),
        exactly("writes lost, from 2 s after promotion", lost, 0),
        timed(at_least("writes from 2 s after promotion", len(late), 500)),
    ]
