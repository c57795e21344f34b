"""A source behind the cache is asked as seldom as promised, and its failures stay its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable

from redis.asyncio import Redis

from chaos.faults.redis_servers import toxic_redis
from chaos.report import Figure, at_least, at_most, case, exactly, soon, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Answer, Connection, Request
from chaos.traffic.load import Load

CALLERS = 1000
EXPIRIES = 20
LOAD_SECONDS = 0.2
KEYS = 10_000
OK = 200


async def ask(connections: Iterable[Connection], path: str) -> list[Answer]:
    """Ask for one path on every connection at once."""
    return await asyncio.gather(*(each.exchange(Request(path)) for each in connections))


@case(41, "1,000 callers of a cold key over 2 workers, then 20 expiries")
async def herd(target: Target) -> list[Figure]:
    """Count the loads of a source that takes 200 ms."""
    expiries = int(target.pace(EXPIRIES, 5))
    environ = {
        "CHAOS_TTL_SECONDS": "1",
        "CHAOS_LOAD_SECONDS": f"{LOAD_SECONDS}",
        # On a busy machine the herd is overload, too, and most of it is refused before the cache.
        "PRESSURE_LOOP_LAG_MS": "0",
        # And Redis' answers wait for their turn in the loop: past its budget a worker loads itself.
        "TIMEOUT_CACHE_MS": "3000",
    }
    async with (
        toxic_redis() as (proxy, _),
        target.start(environ, REDIS_URL=proxy.url) as running,
    ):
        opened = [await Connection.open(running.address) for _ in range(CALLERS)]
        answers = await ask(opened, "/chaos/store/items/cold")
        for connection in opened:
            connection.close()
        cold = running.source.loads("cold")
        item = Request("/chaos/store/items/hot")
        await running.get(item.path)
        first = running.source.loads("hot")
        load = Load(running.url, in_turn=21)
        traffic = await load.run(item, rate=200, seconds=expiries)
        loads = running.source.loads("hot") - first
    workers = {answer.worker for answer in answers}
    slowest = max(one.latency for one in traffic.samples)
    return [
        exactly("cold: answered, of 1,000", sum(one.status == OK for one in answers), CALLERS),
        exactly("cold: workers asked", len(workers), 2),
        exactly("cold: loads", cold, 1),
        at_most(f"hot: loads in {expiries} lifetimes", loads, expiries),
        timed(
            at_least(f"hot: loads in {expiries} lifetimes (it does expire)", loads, expiries / 2)
        ),
        exactly("hot: failed or refused", len(traffic.samples) - traffic.statuses[OK], 0),
        soon("hot: slowest caller, of a 200 ms load", slowest * 1e3, 100),
    ]


async def read(running: Running, key: str) -> tuple[int, str | None, str]:
    """Return status, value and state of an item."""
    answer = await running.get(f"/chaos/store/items/{key}")
    if answer.status != OK:
        return (answer.status, None, "")
    item = json.loads(answer.body)
    return (answer.status, item["value"], item["state"])


async def statuses(running: Running, key: str, *, seconds: float) -> set[int]:
    """Read a key for some time, both workers in turn; return the statuses."""
    found = set()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found.add((await read(running, key))[0])
        await asyncio.sleep(0.05)
    return found


@case(42, "the source fails or has nothing; one lifetime for 10,000 keys; bad values")
async def bad_source(target: Target) -> list[Figure]:
    """Break the source, then what Redis holds."""
    environ = {
        "CHAOS_TTL_SECONDS": "1",
        "CHAOS_STALE_SECONDS": "2",
        "CHAOS_NEGATIVE_SECONDS": "2",
        # What is slow is not what this is about, and 10,000 values pass the proxy one by one.
        "TIMEOUT_CACHE_MS": "5000",
    }
    async with (
        toxic_redis() as (proxy, direct),
        target.start(environ, REDIS_URL=proxy.url) as running,
    ):
        return [
            *await _failing(running),
            *await _absent(running, target.pace(8, 4)),
            *await _spread(running, direct),
            *await _damaged(running, direct),
        ]


async def _failing(running: Running) -> list[Figure]:
    await statuses(running, "shaky", seconds=0.5)
    running.source.set_down(True)
    # Younger than lifetime and stale window together, then older for sure.
    within = await statuses(running, "shaky", seconds=2)
    await asyncio.sleep(1.5)
    after = await statuses(running, "shaky", seconds=0.5)
    running.source.set_down(False)
    back = await statuses(running, "shaky", seconds=0.5)
    return [
        exactly("source fails: statuses in the stale window", _text(within), "200"),
        exactly("source fails: after the hard limit", _text(after), "500"),
        exactly("source is back: statuses", _text(back), "200"),
    ]


def _text(found: set[int]) -> str:
    return " ".join(map(str, sorted(found)))


async def _absent(running: Running, seconds: float) -> list[Figure]:
    running.source.write("nothing", None)
    found = await statuses(running, "nothing", seconds=seconds)
    loads = running.source.loads("nothing")
    return [
        exactly("absent: statuses", _text(found), "200"),
        at_most(f"absent: loads in {seconds:g} s of 2 s lifetimes", loads, seconds / 2 + 1),
    ]


async def _spread(running: Running, direct: Redis) -> list[Figure]:
    connection = await Connection.open(running.address)
    for first in range(0, KEYS, 1000):
        fill = Request(f"/chaos/store/fill/{first}/{first + 1000}", method="POST")
        await connection.exchange(fill)
    connection.close()
    keys = [key async for key in direct.scan_iter(match="*fill:*", count=1000)]
    async with direct.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.pttl(key)
        left = sorted(value / 1e3 for value in await pipeline.execute() if value > 0)
    width = left[len(left) * 99 // 100] - left[len(left) // 100]
    return [
        exactly("one lifetime: keys written", len(keys), KEYS),
        at_least("one lifetime: spread of the ends", width / 600, 0.1),
    ]


async def _damaged(running: Running, direct: Redis) -> list[Figure]:
    """Put what is no value, or one of another version, in the place of a good one."""
    failed = []
    for number, damage in enumerate(DAMAGES):
        key = f"damaged-{number}"
        await read(running, key)
        (name,) = [one async for one in direct.scan_iter(match=f"*{key}*")]
        good = await direct.get(name)
        await direct.set(name, damage(good), ex=60)
        await asyncio.sleep(0.05)  # a worker hears of it
        loads = running.source.loads(key)
        status, value, _ = await read(running, key)
        if (status, value, running.source.loads(key)) != (OK, "new", loads + 1):
            failed.append(str(number))
    return [exactly(f"bad values that were no miss, of {len(DAMAGES)}", " ".join(failed), "")]


DAMAGES = [
    lambda _: b"",
    lambda _: b"\xff" * 40,
    lambda good: good[: len(good) // 2],
    lambda good: good[:-1],
    lambda good: b"\x00" + good[1:],  # another format
    lambda good: good[:1] + b"\x00" * 8 + good[9:],  # another type or version
    lambda good: good[:-3] + b'\xfe"x',
]
