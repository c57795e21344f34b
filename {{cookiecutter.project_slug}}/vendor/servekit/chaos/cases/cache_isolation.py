"""Nobody is answered with what belongs to another, nor with what was written over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from chaos.faults.redis_servers import toxic_redis
from chaos.report import Figure, at_least, case, exactly, slower, soon
from chaos.targets import Running, Target
from chaos.traffic.client import Answer, Connection, Request
from chaos.traffic.load import Load, Outcome

ANSWERS = 10_000
USERS = 20
RACED = 300
ROUNDS = 50
OK = 200
STORE = "/chaos/store"
PATIENT = {"TIMEOUT_CACHE_MS": "5000", "TIMEOUT_SESSION_MS": "5000", "PRESSURE_LOOP_LAG_MS": "0"}
"""Nobody is refused or goes without Redis because it is late: that is for other cases."""

UNKEYED = [
    "X-Forwarded-Host", "X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Host", "X-Original-URL",
    "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Forwarded-Server", "Forwarded", "X-Custom-Poison",
]  # fmt: skip


@case(44, "users, writers and workers share a cache")
async def isolation(target: Target) -> list[Figure]:
    """Two instances of the service, as on two hosts, over one Redis."""
    async with (
        toxic_redis() as (proxy, direct),
        target.start(PATIENT, REDIS_URL=proxy.url) as one,
        target.start(PATIENT, REDIS_URL=proxy.url, CHAOS_SOURCE=str(one.source.folder)) as two,
    ):
        figures = await crossed(one, int(target.pace(ANSWERS, 2_000)))
        figures += await confused(one)
        async with each_worker(one) as here, each_worker(two) as there:
            figures += await told([*here, *there], int(target.pace(ROUNDS, 10)))
            figures += await raced([here[0], here[-1]], int(target.pace(RACED, 60)))
            figures += await untold(here, direct)
    return figures


@contextlib.asynccontextmanager
async def each_worker(running: Running) -> AsyncIterator[list[Connection]]:
    """Give a connection to each of two workers."""
    found: dict[int, Connection] = {}
    async with asyncio.timeout(10):
        while len(found) < 2:  # noqa: PLR2004 - as many as a case starts
            connection = await Connection.open(running.address)
            answer = await connection.exchange(Request("/chaos/ping"))
            if answer.worker in found:
                connection.close()
            found.setdefault(answer.worker, connection)
    try:
        yield list(found.values())
    finally:
        for connection in found.values():
            connection.close()


async def crossed(running: Running, count: int) -> list[Figure]:
    """Ask as many users, over the same connections, on routes that were declared cacheable."""
    requests = []
    for number in range(USERS):
        user = f"user-{number}"
        connection = await Connection.open(running.address)
        answer = await connection.exchange(Request(f"{STORE}/login/{user}", method="POST"))
        connection.close()
        cookie = ("Cookie", answer.headers["set-cookie"].split(";")[0])
        requests += [
            Request(f"{STORE}/mine", headers=(cookie,)),
            Request(f"{STORE}/token", headers=(("Authorization", f"Bearer {user}"),)),
            Request(f"{STORE}/greeting", headers=(("X-User", user),)),
            Request(f"{STORE}/cookie", headers=(("X-User", user),)),
        ]
    load = Load(running.url, keep_answers=True, in_turn=21, timeout=10)
    rate = 500 / slower()
    random.shuffle(requests)
    outcome = await load.run(requests, rate=rate, seconds=count / rate)
    return [
        exactly(f"answers to users, of {count}", outcome.statuses[OK], count),
        exactly("answers that belong to another user", strangers(outcome), 0),
    ]


def strangers(outcome: Outcome) -> int:
    """Return how many answers name, or set a cookie for, another than who asked."""
    # The cookie of a session says nothing of its user: each has one user from its first answer on.
    users: dict[str, str] = {}
    wrong = 0
    for one in outcome.samples:
        if one.answer is None or one.status != OK:
            continue
        (_, asked), user = one.request.headers[0], json.loads(one.answer.body)["user"]
        expected = asked.removeprefix("Bearer ")
        if one.request.path.endswith("/mine"):
            expected = users.setdefault(asked, user)
        set_cookie = one.answer.headers.get("set-cookie", "")
        foreign = set_cookie.startswith("visitor=") and expected not in set_cookie
        wrong += user != expected or foreign
    return wrong + (len(users) - len(set(users.values())))


async def confused(running: Running) -> list[Figure]:
    """Prime the cache by deceiving paths and headers; then ask as everyone does."""
    connection = await Connection.open(running.address)
    poisoned = 0
    for number, name in enumerate(UNKEYED):
        path = f"{STORE}/mirror?{number}"
        await connection.exchange(Request(path, headers=((name, "poison"),)))
        answer = await connection.exchange(Request(path))
        poisoned += b"poison" in answer.body
    page = f"{STORE}/pages/mine"
    plain = (await connection.exchange(Request(page))).body
    paths = [
        f"{page}/x.css", f"{page}%2fx.css", f"{page};x.css", f"{page}%3fx.css", f"{page}/../other",
        f"{STORE}//pages/mine", f"{STORE}/pages/%6dine", f"{page}?", f"{page}?a=1&b=2#x",
        f"{page}%00", f"{STORE}/pages/other/..%2fmine",
        f"{STORE}/mine/pages/mine", f"{STORE}/mine;/pages/x.css",
    ]  # fmt: skip
    for path in paths:
        await _exchange(running, Request(path))
    again = (await connection.exchange(Request(page))).body
    connection.close()
    return [
        exactly(f"headers outside the key that show, of {len(UNKEYED)}", poisoned, 0),
        exactly("page after deceiving paths", str(json.loads(again)["value"]), "new"),
        exactly("page before them", str(json.loads(plain)["value"]), "new"),
    ]


async def _exchange(running: Running, request: Request) -> Answer | None:
    connection = await Connection.open(running.address)
    with contextlib.suppress(OSError, EOFError):
        return await connection.exchange(request)
    return None


async def told(workers: list[Connection], rounds: int) -> list[Figure]:
    """Write on one worker; time until each worker of both hosts has the new value."""
    slowest, local = 0.0, 0
    for number in range(rounds):
        key = f"{STORE}/items/told-{number}"
        await workers[0].exchange(Request(f"{key}/before", method="PUT"))
        for worker in workers:
            for _ in range(3):
                item = await _item(worker, key)
            local += item["tier"] == "local"
        await workers[0].exchange(Request(f"{key}/after", method="PUT"))
        written = time.perf_counter()
        took = await asyncio.gather(*(_seconds_until(worker, key, written) for worker in workers))
        slowest = max(slowest, *took)
    return [
        at_least("copies in the local tiers of 4 workers", local / rounds / len(workers), 0.9),
        soon("slowest drop of a copy, of 4 workers", slowest * 1e3, 100),
    ]


async def _item(worker: Connection, path: str) -> dict[str, str]:
    item: dict[str, str] = json.loads((await worker.exchange(Request(path))).body)
    return item


async def _seconds_until(
    worker: Connection, path: str, since: float, value: str = "after"
) -> float:
    while time.perf_counter() < since + 5:
        if (await _item(worker, path))["value"] == value:
            return time.perf_counter() - since
    return float("nan")


async def raced(workers: list[Connection], keys: int) -> list[Figure]:
    """Two workers write and read each key at the same time; then both must have the same value."""

    async def write(worker: Connection, key: int, mine: str) -> None:
        for turn in range(2):
            path = f"{STORE}/items/raced-{key}"
            await worker.exchange(Request(f"{path}/{mine}-{turn}", method="PUT"))
            await worker.exchange(Request(path))

    stale = 0
    for key in range(keys):
        await asyncio.gather(
            *(write(worker, key, mine) for worker, mine in zip(workers, "ab", strict=True))
        )
    await asyncio.sleep(0.2)
    for key in range(keys):
        path = f"{STORE}/items/raced-{key}"
        values = {(await _item(worker, path))["value"] for worker in workers}
        stale += len(values) > 1
    return [exactly(f"keys stale after two writers, of {keys}", stale, 0)]


async def untold(workers: list[Connection], direct: Redis) -> list[Figure]:
    """Forbid the invalidation channel: what a worker has is not used while nothing is told."""
    path = f"{STORE}/items/untold"
    for worker in workers:
        for _ in range(3):
            await _item(worker, path)
    before = [(await _item(worker, path))["tier"] for worker in workers]
    await direct.execute_command("ACL", "SETUSER", "default", "-client|tracking")
    for one in await direct.client_list():
        if "t" in one["flags"]:
            await direct.client_kill_filter(_id=one["id"])
    await asyncio.sleep(0.1)
    tiers = {(await _item(worker, path))["tier"] for worker in workers for _ in range(50)}
    await direct.execute_command("ACL", "SETUSER", "default", "+client|tracking")
    await asyncio.sleep(1.5)
    for worker in workers:
        for _ in range(3):
            await _item(worker, path)
    after = [(await _item(worker, path))["tier"] for worker in workers]
    return [
        exactly("channel up: tier", " ".join(sorted(set(before))), "local"),
        exactly("channel down: tier", " ".join(sorted(tiers)), "redis"),
        exactly("channel up again: tier", " ".join(sorted(set(after))), "local"),
    ]
