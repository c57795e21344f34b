"""A worker that dies, hangs or grows is replaced, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

from chaos.client import Connection, Request
from chaos.load import Load
from chaos.report import Figure, at_least, at_most, case, exactly
from chaos.targets import Running, Target

RATE = 200
QUICK = Request("/chaos/wait?seconds=0.05")
REPLACED_SECONDS_MAX = 10.0
MIB = 2**20


async def seconds_until_new(running: Running, known: set[int], seconds: float) -> float:
    """Return the seconds until a process that is not `known` answers; NaN if none does."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            answer = await running.get("/chaos/ping", seconds=0.5)
            if json.loads(answer.body)["pid"] not in known:
                return time.monotonic() - begin
        await asyncio.sleep(0.002)
    return float("nan")


@case(22, "kill -9 of a worker at 200 rps")
async def killed(target: Target) -> list[Figure]:
    """Kill one of two workers: only what it was working on fails."""
    async with target.start() as running:
        known = await running.pids()
        load = Load(running.url)
        sending = asyncio.create_task(load.run(QUICK, rate=RATE, seconds=8))
        begin = time.perf_counter()
        await asyncio.sleep(3)
        os.kill(min(known), signal.SIGKILL)
        killed_at = time.perf_counter() - begin
        answered = await seconds_until_new(running, known, 5)
        outcome = await sending
    in_flight = [
        one for one in outcome.samples if one.scheduled < killed_at < one.scheduled + one.latency
    ]
    later = [one for one in outcome.samples if one.failed and one.scheduled > killed_at + 0.05]
    return [
        at_most("failed", outcome.failed, max(1, len(in_flight))),
        exactly("failed that were sent later", len(later), 0),
        at_most("ms until the replacement answers", answered * 1e3, 200, " ms"),
    ]


@case(23, "a stopped worker, and one whose loop is blocked for 30 s")
async def hung(target: Target) -> list[Figure]:
    """Hang a worker in two ways: each is found, named and replaced, the other one serves on."""
    return [*await _hang(target, "stopped"), *await _hang(target, "blocked")]


async def _hang(target: Target, how: str) -> list[Figure]:
    async with target.start() as running:
        known = await running.pids()
        begin = time.monotonic()
        blocking = await _stop_or_block(running, min(known), how)
        other = asyncio.create_task(_failures_elsewhere(running))
        await seconds_until_new(running, known, 20)
        took = time.monotonic() - begin
        other.cancel()
        figures = [
            at_most(f"{how}: seconds to replacement", took, REPLACED_SECONDS_MAX, " s"),
            exactly(f"{how}: failed on the other worker", await other, 0),
        ]
        if not target.plain:
            hangs = await _restarts(running, "hang")
            figures.append(exactly(f"{how}: worker_restarts_total (hang)", hangs, 1))
        if how == "blocked":
            figures.append(exactly("stack in the log", str("in block" in running.log), "True"))
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


def rss_bytes(pids: set[int]) -> int:
    """Return the resident memory of processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


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
    mixed = [Request("/"), Request("/chaos/ping"), Request("/nowhere"), Request("/readyz")]
    async with target.start() as running:
        await hammer(running, mixed, 50_000)
        pids = await running.pids()
        before = rss_bytes(pids)
        await hammer(running, mixed, 150_000)
        grown = (rss_bytes(pids) - before) / len(pids) / MIB
    figures = [at_most("RSS growth of a worker, MiB per 100,000", grown / 1.5 * 2, 1, " MiB")]
    if target.plain:
        return figures
    async with target.start(WORKER_RECYCLE_REQUESTS="500") as running:
        known = await running.pids()
        outcome = await Load(running.url).run(QUICK, rate=RATE, seconds=10)
        renewed = len(await running.pids() - known)
    figures += [
        exactly("recycling by requests: failed", outcome.failed, 0),
        at_least("recycling by requests: new workers", renewed, 1),
    ]
    return figures
