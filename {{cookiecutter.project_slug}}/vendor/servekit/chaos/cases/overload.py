"""More than a worker can do: it goes on doing what it can, and says no to the rest at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from chaos.report import Figure, at_least, at_most, case, exactly, soon, timed
from chaos.targets import ROOT, Running, Target, rss_bytes
from chaos.traffic.client import Request
from chaos.traffic.cpus import LOAD_CPU, SERVICE_CPU, on_cpu
from chaos.traffic.load import Outcome
from chaos.traffic.surge import Surge

WORK = Request("/chaos/cpu?ms=5")
GOODPUT_MIN = {2: 98, 5: 95, 10: 90}
REST_SECONDS = 1.5


@contextlib.asynccontextmanager
async def one_worker(target: Target, **environ: str) -> AsyncIterator[Running]:
    """Start one worker on a CPU, and stay on another."""
    async with target.start(environ, cpu=SERVICE_CPU, WORKERS="1") as running:
        with on_cpu(LOAD_CPU):
            await Surge(running.url, work(running)).run(rate=30, seconds=2)
            yield running


def work(running: Running) -> Request:
    """Return what is asked for: the first of the routes that were named, if any."""
    return running.traffic(WORK)[0]


def goodput(outcome: Outcome) -> float:
    """Answers below 400 a second, of those that came while the load was on."""
    good = [
        one
        for one in outcome.samples
        if not one.error and one.status < 400 and one.scheduled + one.latency < outcome.seconds  # noqa: PLR2004
    ]
    return len(good) / outcome.seconds


async def offer(running: Running, rate: float, seconds: float) -> Outcome:
    """Send, then let it come to rest."""
    outcome = await Surge(running.url, work(running)).run(rate=rate, seconds=seconds)
    await asyncio.sleep(REST_SECONDS)
    return outcome


async def closed_loop(
    running: Running, path: str, *, connections: int, seconds: float
) -> dict[str, Any]:
    """Ask over so many connections, each as soon as it is answered; return what was seen."""
    arguments = ["127.0.0.1", str(running.port), path, str(connections), str(seconds)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.traffic.flood", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(printed)
    return seen


async def find_capacity(running: Running) -> float:
    """Return the answers a second at the top of a ramp of offered load."""
    seen = await closed_loop(running, work(running).path, connections=4, seconds=2)
    rates = [seen["per_second"] * part for part in (0.9, 1.0, 1.1)]
    return max([goodput(await offer(running, rate, 2)) for rate in rates])


@dataclass
class Run:
    """What one target did under load: the share of its capacity, and the latencies."""

    unloaded: Outcome
    shares: dict[int, float] = field(default_factory=dict)
    admitted: dict[int, Outcome] = field(default_factory=dict)


RUNS: dict[str, Run] = {}


async def overloaded(target: Target) -> Run:
    """Offer 2, 5 and 10 times the capacity; cases 1 and 2 look at the same run."""
    if target.name in RUNS:
        return RUNS[target.name]
    async with one_worker(target) as running:
        capacity = await find_capacity(running)
        run = Run(await offer(running, capacity / 4, target.pace(10, 5)))
        before = await find_capacity(running)
        for times in GOODPUT_MIN:
            outcome = await offer(running, times * capacity, target.pace(20, 5))
            # What the machine has to give changes with its neighbours: seen before and after.
            after = await find_capacity(running)
            run.shares[times] = 200 * goodput(outcome) / (before + after)
            run.admitted[times] = outcome.select(lambda one: one.status == 200)  # noqa: PLR2004
            before = after
    RUNS[target.name] = run
    return run


@case(1, "2, 5 and 10 times the capacity of a 5 ms CPU handler")
async def goodput_kept(target: Target) -> list[Figure]:
    """Compare what is answered with what was answered at the top of the ramp."""
    run = await overloaded(target)
    return [
        timed(at_least(f"{times}x: goodput, % of capacity", run.shares[times], limit, " %"))
        for times, limit in GOODPUT_MIN.items()
    ]


@case(2, "latency of what is admitted in case 1", looks_at=1)
async def latency_kept(target: Target) -> list[Figure]:
    """Hold the admitted against the same route at a quarter of its capacity."""
    run = await overloaded(target)
    p50, p99 = (run.unloaded.percentile(part) for part in (0.5, 0.99))
    figures = []
    for times, admitted in run.admitted.items():
        slowest = admitted.percentile(0.99)
        figures += [
            timed(at_most(f"{times}x: p50, x unloaded", admitted.percentile(0.5) / p50, 1.5)),
            timed(at_most(f"{times}x: p99, x unloaded", slowest / p99, 2)),
            soon(f"{times}x: p99 ms", slowest * 1e3, 250),
        ]
    return figures


@case(4, "80 % of capacity with bursts of 20")
async def bursts(target: Target) -> list[Figure]:
    """Serve 80 % for a minute, a burst of 20 each second among it: nothing is refused."""
    async with one_worker(target) as running:
        rate = 0.8 * await find_capacity(running)
        seconds = target.pace(60, 10)
        steady, burst = await asyncio.gather(
            Surge(running.url, work(running)).run(rate=max(rate - 20, 1), seconds=seconds),
            Surge(running.url, work(running)).run(rate=20, seconds=seconds, burst=20, even=True),
        )
    every = Outcome(steady.samples + burst.samples, seconds)
    return [
        timed(exactly("refused", every.statuses[503], 0)),
        exactly("failed", every.failed, 0),
        soon("p99 ms", every.percentile(0.99) * 1e3, 1000),
    ]


@case(6, "10 times the capacity, then 0.8 times")
async def recovery(target: Target) -> list[Figure]:
    """Let the surge pass: two seconds later nothing is left of it."""
    seconds = target.pace(20, 6)
    async with one_worker(target) as running:
        pids = await running.pids(1)
        capacity = await find_capacity(running)
        normal = await offer(running, 0.8 * capacity, 8)
        before = rss_bytes(pids)
        await Surge(running.url, work(running)).run(rate=10 * capacity, seconds=seconds, patience=0)
        eased = await Surge(running.url, work(running)).run(rate=0.8 * capacity, seconds=10)
        grown = rss_bytes(pids) / before - 1
    late = eased.select(lambda one: one.scheduled >= 2)  # noqa: PLR2004
    limit = max(2 * normal.percentile(0.99), 0.1)
    return [
        timed(at_most("p99 ms from 2 s after it", late.percentile(0.99) * 1e3, limit * 1e3, " ms")),
        exactly("failed from 2 s after it", late.failed, 0),
        timed(exactly("503 from 2 s after it", late.statuses[503], 0)),
        at_most("RSS growth, %", 100 * grown, 5, " %"),
    ]
