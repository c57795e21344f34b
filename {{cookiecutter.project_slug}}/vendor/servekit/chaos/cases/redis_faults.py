"""Redis refuses, is silent, slow or flaky: cached reads go on, in time and marked."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from datetime import datetime

from chaos.faults.proxy import ToxicProxy
from chaos.faults.redis_servers import toxic_redis
from chaos.report import Figure, at_least, at_most, case, exactly, soon, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Request
from chaos.traffic.load import Load, Outcome, Sample

RATE = 200
KEYS = 20
CONNECTIONS = 21
"""No divisor of the keys: each is read on every worker."""

TTL_SECONDS = 2
ENVIRON = {"CHAOS_TTL_SECONDS": f"{TTL_SECONDS}", "CHAOS_LOAD_SECONDS": "0.05"}
ITEMS = [Request(f"/chaos/store/items/{number}") for number in range(KEYS)]
PAGES = [Request(f"/chaos/store/pages/{number}") for number in range(KEYS)]
CACHED = [*ITEMS, *PAGES]
CACHE_BUDGET_SECONDS = 0.1
OK = 200


async def read(
    running: Running, requests: list[Request], *, seconds: float, rate: float = RATE
) -> Outcome:
    """Load the service with reads, keeping the answers."""
    load = Load(running.url, timeout=10, keep_answers=True, in_turn=CONNECTIONS)
    return await load.run(requests, rate=rate, seconds=seconds)


async def settle(running: Running, requests: list[Request]) -> None:
    """Read until every worker has every key in its own tier."""
    await read(running, requests, seconds=4)


async def apply(fault: str, proxy: ToxicProxy) -> float:
    """Begin a fault; return the time of the clock on the wall."""
    if fault == "refused":
        await proxy.down()
    else:
        proxy.black_hole = True
    return time.time()


async def end(fault: str, proxy: ToxicProxy) -> None:
    """End it: silent connections are cut, as a server that was restarted does."""
    if fault == "refused":
        await proxy.up()
    else:
        proxy.black_hole = False
        proxy.reset()


def unmarked(outcome: Outcome) -> int:
    """Return how many pages past their lifetime did not say so in Cache-Status and Age."""
    return sum(
        int(headers.get("age", "-1")) < TTL_SECONDS for headers in _headers(outcome, marked=True)
    ) + sum(int(headers.get("age", "0")) > TTL_SECONDS for headers in _headers(outcome))


def _headers(outcome: Outcome, *, marked: bool = False) -> list[dict[str, str]]:
    answers = [one.answer for one in outcome.samples if one.answer and one.status == OK]
    found = [one.headers for one in answers if "cache-status" in one.headers]
    return [one for one in found if ("detail=stale" in one["cache-status"]) == marked]


def opened_after(running: Running, begin: float) -> list[float]:
    """Return the seconds after which each worker first logged an open breaker of its cache."""
    first: dict[object, float] = {}
    for line in running.log.splitlines():
        if "redis_breaker_opened" in line and '"cache"' in line:
            event = json.loads(line)
            opened = datetime.fromisoformat(event["timestamp"]).timestamp()
            first.setdefault(event.get("worker"), opened - begin)
    return sorted(first.values())


async def outage(target: Target, fault: str) -> list[Figure]:
    """Read cached values before and while Redis is away."""
    seconds = target.pace(10, 4)
    async with (
        toxic_redis() as (proxy, _),
        target.start(ENVIRON, REDIS_URL=proxy.url) as running,
    ):
        await settle(running, CACHED)
        before = await read(running, CACHED, seconds=seconds)
        begin = await apply(fault, proxy)
        during = await read(running, CACHED, seconds=seconds)
        opened = opened_after(running, begin)
    slowest = max((one.latency for one in during.samples), default=float("nan"))
    figures = [
        exactly("failed or refused", failures(during), 0),
        timed(
            at_most(
                "p99, in multiples of before", during.percentile(0.99) / before.percentile(0.99), 2
            )
        ),
        at_least("stale pages, marked", len(_headers(during, marked=True)), 1),
        exactly("pages past their lifetime, unmarked", unmarked(during), 0),
    ]
    if fault == "silent":
        figures += [
            soon("slowest request", slowest * 1e3, 250),
            exactly("workers whose breaker opened", len(opened), 2),
            timed(at_most("s until it was open", max(opened, default=float("nan")), 1, " s")),
        ]
    return figures


def failures(outcome: Outcome) -> int:
    """Return how many requests got no answer or one of 500 and above."""
    return sum(bool(one.error) or one.status >= 500 for one in outcome.samples)  # noqa: PLR2004


@case(10, "Redis refuses for 10 s, 200 rps of cached reads")
async def refused(target: Target) -> list[Figure]:
    """Refuse and reset."""
    return await outage(target, "refused")


@case(11, "Redis is silent for 10 s, 200 rps of cached reads")
async def silent(target: Target) -> list[Figure]:
    """Take everything and say nothing."""
    return await outage(target, "silent")


@case(12, "Redis answers 200 ms late")
async def late(target: Target) -> list[Figure]:
    """Read what a worker has, and keys that nobody has, behind a slow network."""
    seconds = target.pace(10, 4)
    environ = {**ENVIRON, "CHAOS_TTL_SECONDS": "60", "CHAOS_LOAD_SECONDS": "0.02"}
    cold = [Request(f"/chaos/store/items/cold-{number}") for number in range(int(20 * seconds))]
    async with (
        toxic_redis() as (proxy, _),
        target.start(environ, REDIS_URL=proxy.url) as running,
    ):
        await settle(running, ITEMS)
        proxy.latency_seconds = 0.2
        warm, rest = await asyncio.gather(
            read(running, ITEMS, seconds=seconds, rate=RATE - 20),
            read(running, cold, seconds=seconds, rate=20),
        )
    together = Outcome(warm.samples + rest.samples, seconds)
    local = warm.select(lambda one: _state(one)[1] == "local")
    budget = CACHE_BUDGET_SECONDS + 0.1
    return [
        exactly("failed or refused", failures(together), 0),
        timed(at_most("p99 of all", together.percentile(0.99) * 1e3, budget * 1e3, " ms")),
        at_least("local hits, of the warm keys", len(local.samples) / len(warm.samples), 0.9),
        soon("p99 of local hits", local.percentile(0.99) * 1e3, 5),
    ]


def _state(sample: Sample) -> tuple[str, str]:
    """Return state and tier of an item's answer."""
    if sample.answer is None or sample.status != OK:
        return ("", "")
    item = json.loads(sample.answer.body)
    return (item["state"], item["tier"])


@case(13, "Redis comes back after it refused, and after it was silent")
async def back(target: Target) -> list[Figure]:
    """End both outages under load."""
    figures = []
    for fault in ("refused", "silent"):
        async with (
            toxic_redis() as (proxy, _),
            target.start(ENVIRON, REDIS_URL=proxy.url) as running,
        ):
            await settle(running, ITEMS)
            await apply(fault, proxy)
            await read(running, ITEMS, seconds=target.pace(10, 4))
            tries = len(proxy.accepted_at)
            await end(fault, proxy)
            after = await read(running, ITEMS, seconds=8)
        reconnects = proxy.accepted_at[tries:]
        figures += [
            timed(at_most(f"{fault}: s until 90 % hit", recovered_after(after), 5, " s")),
            exactly(f"{fault}: failed or refused", failures(after), 0),
            at_most(f"{fault}: reconnects in the busiest 100 ms", busiest(reconnects), 20),
        ]
    return figures


def recovered_after(outcome: Outcome) -> float:
    """Return the second from which on nine of ten reads are hits; NaN if that does not come."""
    found = float("nan")
    seconds = itertools.groupby(
        sorted(outcome.samples, key=lambda one: one.scheduled), key=lambda one: int(one.scheduled)
    )
    for second, group in seconds:
        states = Counter(_state(one)[0] for one in group)
        if states["hit"] < 0.9 * states.total():
            found = float("nan")
        elif found != found:  # noqa: PLR0124 - NaN
            found = second
    return found


def busiest(times: list[float], window: float = 0.1) -> int:
    """Return the most events within a window of seconds."""
    return max((sum(begin <= one < begin + window for one in times) for begin in times), default=0)


@case(14, "Redis fails half of all commands for 20 s")
async def flaky(target: Target) -> list[Figure]:
    """Ask for a key of its own with each request: what is asked twice was tried again."""
    seconds = target.pace(20, 6)
    requests = [Request(f"/chaos/store/redis/{number}") for number in range(int(RATE * seconds))]
    async with (
        toxic_redis() as (proxy, _),
        target.start(REDIS_URL=proxy.url) as running,
    ):
        await read(running, ITEMS, seconds=1)
        proxy.fail_ratio = 0.5
        outcome = await read(running, requests, seconds=seconds)
    keys = {f"raw:{number}".encode() for number in range(len(requests))}
    tries = {key: count for key, count in proxy.reads.items() if key in keys}
    retries: Counter[int] = Counter()
    for one in outcome.samples:
        key = f"raw:{one.request.path.rsplit('/', 1)[1]}".encode()
        retries[one.worker] += max(tries.get(key, 1) - 1, 0)
    return [
        at_most("attempts for a request", sum(tries.values()) / max(len(outcome.samples), 1), 1.1),
        at_most("retries in the minute, of a process", max(retries.values(), default=0), 60),
        at_least("share of requests that reached Redis", len(tries) / len(requests), 0.1),
    ]
