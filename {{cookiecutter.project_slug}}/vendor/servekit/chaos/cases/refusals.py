"""What a refusal costs, and whom it spares."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from chaos.cases.overload import closed_loop, find_capacity, one_worker
from chaos.report import Figure, at_least, at_most, case, exactly, fast, soon, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Request
from chaos.traffic.load import Load, Outcome, Sample
from chaos.traffic.surge import Surge

CONNECTIONS = 64
CRITICAL = Request("/chaos/critical?ms=0.5")
SHEDDABLE = Request("/chaos/cpu?ms=5")


@case(3, "the cost of a refusal")
async def refusal(target: Target) -> list[Figure]:
    """Refuse everything on one core, as fast as it goes."""
    path = "/chaos/refuse" if target.plain else "/chaos/ping"
    async with one_worker(target, PRESSURE_RSS_MIB="1") as running:
        await closed_loop(running, path, connections=CONNECTIONS, seconds=1)
        lines = running.log.count("\n")
        seconds = target.pace(8, 4)
        seen = await closed_loop(running, path, connections=CONNECTIONS, seconds=seconds)
        lines = running.log.count("\n") - lines
    others = sum(count for status, count in seen["statuses"].items() if status != "503")
    return [
        fast("503 a second on a core", seen["per_second"], 20_000),
        exactly("other answers", others, 0),
        soon("p99 ms, 64 connections", seen["p99_ms"], 10),
        at_most("bytes of the body", seen["body_bytes"], 200),
        at_least("different Retry-After", len(seen["retry_after"]), 3),
        at_most("lines in the log", lines, 10),
    ]


@case(5, "10x load: 30 % critical, 70 % sheddable; probes and metrics")
async def importance(target: Target) -> list[Figure]:
    """Ask ten times what the worker can do: what matters most is served, and it can be watched."""
    seconds = target.pace(20, 6)
    async with one_worker(
        target, CRITICAL_PATHS="/chaos/critical", SHEDDABLE_PATHS="/chaos/cpu"
    ) as running:
        total = 10 * await find_capacity(running)
        critical, _, probes, metrics = await asyncio.gather(
            Surge(running.url, CRITICAL).run(rate=0.3 * total, seconds=seconds),
            Surge(running.url, SHEDDABLE).run(rate=0.7 * total, seconds=seconds, patience=0),
            _probe(running, ["/livez", "/readyz"], 10, seconds),
            _probe(running, ["/metrics"], 10, seconds, admin=True),
        )
    figures = [timed(at_least("critical served, %", _served(critical), 99.4, " %"))]
    watched = [("probes", probes)] + ([] if target.plain else [("metrics", metrics)])
    for name, outcome in watched:
        figures += [
            at_least(f"{name}: 200, %", _served(outcome), 100, " %"),
            soon(f"{name}: p99 ms", outcome.percentile(0.99) * 1e3, 50),
        ]
    return figures


def _served(outcome: Outcome) -> float:
    return 100 * outcome.statuses[200] / len(outcome.samples)


async def _probe(
    running: Running, paths: list[str], rate: float, seconds: float, *, admin: bool = False
) -> Outcome:
    """Ask each path `rate` times a second on new connections, as a kubelet and Prometheus do."""
    outcome = Outcome(seconds=seconds)
    begin = time.perf_counter()

    async def one(path: str, scheduled: float) -> None:
        status, error = 0, ""
        try:
            status = (await running.get(path, admin=admin, seconds=5)).status
        except (OSError, EOFError, TimeoutError) as failure:
            error = type(failure).__name__
        latency = time.perf_counter() - begin - scheduled
        outcome.samples.append(Sample(scheduled, latency, status, error))

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0, begin + number / rate - time.perf_counter()))
            for path in paths:
                tasks.create_task(one(path, number / rate))
    return outcome


@case(9, "a client at 3x its quota over 2 workers")
async def rate_limit(target: Target) -> list[Figure]:
    """Ask from one address with an X-Forwarded-For that changes: the quota is one and exact."""
    quota, seconds = 600, target.pace(55, 8)
    requests = [
        Request("/chaos/ping", headers=(("X-Forwarded-For", f"203.0.113.{number}"),))
        for number in range(250)
    ]
    # Where Redis is late each worker counts alone; that is for cases 10 to 14.
    async with target.start(RATE_LIMIT_PER_MINUTE=str(quota), TIMEOUT_CACHE_MS="5000") as running:
        load = Load(running.url, in_turn=CONNECTIONS)
        outcome = await load.run(requests, rate=3 * quota / seconds, seconds=seconds)
        answer = await running.get("/chaos/ping")
        workers = len({one.worker for one in outcome.samples} - {0})
    admitted, shed = outcome.statuses[200], outcome.statuses[503]
    others = Counter(
        one.error or str(one.status) for one in outcome.samples if one.status not in {200, 429, 503}
    )
    return [
        at_most("admitted, % off the quota", 100 * abs(admitted / quota - 1), 1, " %"),
        timed(exactly("shed before they were counted", shed, 0)),
        exactly(
            "neither admitted nor 429", ", ".join(f"{n} {what}" for what, n in others.items()), ""
        ),
        exactly("429 with Retry-After", str("retry-after" in answer.headers), "True"),
        exactly("workers that counted together", workers, 2),
    ]
