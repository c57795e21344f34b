"""A worker that dies, hangs or grows is replaced, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time

from chaos.faults.kills import kill
from chaos.report import Figure, at_least, at_most, case, exactly, soon, timed
from chaos.targets import Running, Target, rss_bytes
from chaos.traffic.client import Connection, Request
from chaos.traffic.load import Load

RATE = 200
QUICK = Request("/chaos/wait?seconds=0.05")
REPLACED_SECONDS_MAX = 10.0
ANSWERS_MS_MAX = 200
BUSY_MS_MAX = 5000
LOGGED_SECONDS = 2.0
"""Of a short run, which holds on a machine that does other work too."""
MIB = 2**20


async def time_of_new(running: Running, known: set[int], seconds: float) -> float:
    """Return when a process that is not `known` first answers; NaN if none does."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            answer = await running.get("/chaos/ping", seconds=0.5)
            if answer.worker not in {0, *known}:
                return time.perf_counter()
        await asyncio.sleep(0.002)
    return float("nan")


@case(22, "kill -9 of a worker at 200 rps")
async def killed(target: Target) -> list[Figure]:
    """Kill one of two workers: only what it was working on fails."""
    answers_max = target.pace(ANSWERS_MS_MAX, BUSY_MS_MAX)
    async with target.start() as running:
        known = await running.pids()
        victim = min(known)
        load = Load(running.url)
        sending = asyncio.create_task(
            load.run(running.traffic(QUICK), rate=RATE, seconds=target.pace(8, 4))
        )
        await asyncio.sleep(target.pace(3, 2))
        death = await kill(victim)
        answered = await time_of_new(running, known, 5)
        outcome = await sending
    in_flight = death.had(outcome)
    elsewhere = outcome.failed - sum(one.failed for one in in_flight)
    return [
        at_most("failed, of those the worker had in flight", outcome.failed, len(in_flight)),
        exactly("failed that it did not have", elsewhere, 0),
        timed(exactly("refused", outcome.statuses[503], 0)),
        soon("ms until the replacement answers", (answered - death.began) * 1e3, answers_max),
    ]


@case(23, "a stopped worker, and one whose loop is blocked for 30 s")
async def hung(target: Target) -> list[Figure]:
    """Hang a worker in two ways: each is found, named and replaced, the other one serves on."""
    both = await asyncio.gather(_hang(target, "stopped"), _hang(target, "blocked"))
    return [*both[0], *both[1]]


async def _hang(target: Target, how: str) -> list[Figure]:
    limit = target.pace(REPLACED_SECONDS_MAX, 4)
    async with target.start(WORKER_HANG_SECONDS=f"{limit:g}") as running:
        known = await running.pids()
        begin = time.perf_counter()
        blocking = await _stop_or_block(running, min(known), how)
        other = asyncio.create_task(_failures_elsewhere(running))
        took = await time_of_new(running, known, limit + 10) - begin
        other.cancel()
        figures = [
            timed(
                at_most(f"{how}: seconds to replacement", took, target.pace(limit, 2 * limit), " s")
            ),
            exactly(f"{how}: failed on the other worker", await other, 0),
        ]
        if not target.plain:
            hangs = await _restarts(running, "hang")
            figures.append(exactly(f"{how}: worker_restarts_total (hang)", hangs, 1))
        if how == "blocked":
            figures.append(exactly("stack in the log", await _says(running, "in block"), "True"))
        blocking.close()
    return figures


async def _stop_or_block(running: Running, pid: int, how: str) -> Connection:
    connection = await Connection.open(running.address)
    if how == "stopped":
        os.kill(pid, signal.SIGSTOP)
    else:
        connection.writer.write(Request("/chaos/block?seconds=30").encode())
    await asyncio.sleep(0.1)
    return connection


async def _says(running: Running, text: str) -> str:
    """Return whether the log says so; it may come after the replacement's first answer."""
    until = time.perf_counter() + LOGGED_SECONDS
    while text not in running.log and time.perf_counter() < until:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.02)
    return str(text in running.log)


async def _failures_elsewhere(running: Running) -> int:
    """Ask on new connections until cancelled; return how many got no answer within a second."""
    failed = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0.1)
            try:
                await running.get("/chaos/ping", seconds=1)
            except (OSError, EOFError, TimeoutError):
                failed += 1
    return failed


async def _restarts(running: Running, reason: str) -> float:
    metrics = (await running.get("/metrics", admin=True)).body.decode()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("worker_restarts_total") and f'reason="{reason}"' in line
    )


MIXED = [
    Request("/"),
    Request("/chaos/ping"),
    Request("/nowhere"),
    Request("/products/7"),
    Request("/chaos/body", method="POST", body=b"x" * 2000),
    Request("/readyz"),
]


async def hammer(running: Running, requests: list[Request], count: int) -> None:
    """Send `count` requests over 16 keep-alive connections as fast as they are answered."""

    async def client(share: int) -> None:
        connection = await Connection.open(running.address)
        for number in range(share):
            await connection.exchange(requests[number % len(requests)])
        connection.close()

    await asyncio.gather(*(client(count // 16) for _ in range(16)))


@case(27, "200,000 mixed requests, and recycling")
async def memory(target: Target) -> list[Figure]:
    """Serve long: memory stays, and a worker that is recycled is replaced first."""
    async with target.start() as running:
        await hammer(running, running.traffic(*MIXED), 50_000)
        pids = await running.pids()
        before = rss_bytes(pids)
        await hammer(running, running.traffic(*MIXED), 150_000)
        grown = (rss_bytes(pids) - before) / len(pids) / MIB
    # Each of the two workers served half of the 150,000.
    figures = [at_most("RSS growth of a worker, MiB per 100,000", grown / 0.75, 1, " MiB")]
    if target.plain:
        return figures
    recycling = await asyncio.gather(
        _recycle(target, "requests", 10, WORKER_RECYCLE_REQUESTS="500"),
        _recycle(target, "rss", 25, WORKER_RECYCLE_RSS_MIB="10"),
    )
    return figures + [figure for each in recycling for figure in each]


async def _recycle(target: Target, reason: str, seconds: float, **setting: str) -> list[Figure]:
    """Let workers grow old or large under load, and see each replaced before it drains."""
    async with target.start(setting) as running:
        outcome = await Load(running.url).run(running.traffic(QUICK), rate=RATE, seconds=seconds)
        renewed = await _restarts(running, reason)
        events = [
            (event["event"], event.get("pid", event.get("new")))
            for event in map(json.loads, filter(None, running.log.splitlines()))
            if event["event"] in {"worker_started", "worker_replaced"}
        ]
    early = sum(
        name == "worker_replaced" and ("worker_started", pid) not in events[:place]
        for place, (name, pid) in enumerate(events)
    )
    return [
        exactly(f"recycled by {reason}: failed", outcome.failed, 0),
        timed(exactly(f"recycled by {reason}: refused", outcome.statuses[503], 0)),
        timed(at_least(f"recycled by {reason}: workers", renewed, 1)),
        exactly(f"recycled by {reason}: before their replacement", early, 0),
    ]
