"""Work that would hold the loop, and work for clients who have left."""

from __future__ import annotations

import asyncio
import math
import re
import time
from pathlib import Path

from chaos.report import Figure, at_least, at_most, case, exactly, soon, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Connection, Request
from chaos.traffic.load import Load

BLOCKING, COMPUTING = 80, 8
THREADS_OF_A_WORKER = 16
LIGHT = Request("/chaos/wait?seconds=0.02")
LEAVING, RESET_OF_FOUR = 500, 2


@case(8, "80 blocking jobs of 3 s and 8 CPU jobs")
async def offload(target: Target) -> list[Figure]:
    """Hand over more than the pools hold: the rest hears so at once, and the loop is free."""
    seconds = target.pace(3, 2)
    async with target.start() as running:
        idle = await Load(running.url).run(
            running.traffic(LIGHT), rate=100, seconds=target.pace(5, 3)
        )
        paths = [f"/chaos/offload/block?seconds={seconds}"] * BLOCKING
        paths += ["/chaos/offload/compute?seconds=1"] * COMPUTING
        jobs = asyncio.gather(
            *(_status(running, path, number / 100) for number, path in enumerate(paths))
        )
        light, probes = await asyncio.gather(
            Load(running.url).run(running.traffic(LIGHT), rate=100, seconds=seconds),
            Load(running.url).run(Request("/livez"), rate=50, seconds=seconds),
        )
        statuses = await jobs
    blocked, computed = statuses[:BLOCKING], statuses[BLOCKING:]
    places = 2 * THREADS_OF_A_WORKER
    queued = max(0, blocked.count(200) - places)
    times = light.percentile(0.99) / idle.percentile(0.99)
    return [
        timed(at_most("async p99, times that when idle", times, 2, "x")),
        soon("/livez p99 ms", probes.percentile(0.99) * 1e3, 50),
        at_most("blocking jobs queued, % of the pool", 100 * queued / places, 50, " %"),
        exactly("the rest: 503", blocked.count(503), BLOCKING - places - queued),
        at_least("CPU jobs done", computed.count(200), 2),
        exactly("CPU jobs: the rest 503", computed.count(503), COMPUTING - computed.count(200)),
        exactly("other requests failed", light.failed + probes.failed, 0),
    ]


async def _status(running: Running, path: str, delay: float) -> int:
    """Return the status of a job, 0 without an answer in half a minute.

    The jobs come within a second, not at once: opening 88 connections is work for the one who asks,
    and he measures.
    """
    await asyncio.sleep(delay)
    try:
        return (await running.get(path, seconds=30)).status
    except (OSError, EOFError, TimeoutError):
        return 0


@case(19, "500 clients hang up mid-request")
async def hang_up(target: Target) -> list[Figure]:
    """Leave in the middle of 250 reads and 250 writes: reads stop, writes finish, nothing stays.

    Half of them reset their connections. The others close them in order, which looks as if they
    only sent no more: reads have a second for a piece of their answers.
    """
    async with target.start() as running:
        pids = await running.pids()
        await asyncio.sleep(1)
        before = _open_files(pids), await _tasks(running, target)
        connections = [await Connection.open(running.address) for _ in range(LEAVING)]
        for number, connection in enumerate(connections):
            method = "POST" if number % 2 else "GET"
            connection.writer.write(Request("/chaos/slow?seconds=3", method).encode())
        await asyncio.sleep(1)
        left = time.monotonic()
        for number, connection in enumerate(connections):
            if number % 4 < RESET_OF_FOUR:
                connection.reset_when_closed()
            connection.writer.transport.abort()
        ends = await _ends(running, LEAVING, 6)
        await asyncio.sleep(1)
        after = _open_files(pids), await _tasks(running, target)
    stopped = sorted(at - left for method, end, at in ends if (method, end) == ("GET", "cancelled"))
    written = sum((method, end) == ("POST", "finished") for method, end, _ in ends)
    whole = len(stopped) == LEAVING // 2
    reset, closed = (stopped[LEAVING // 4 - 1], stopped[-1]) if whole else (math.nan, math.nan)
    return [
        exactly("reads stopped", len(stopped), LEAVING // 2),
        soon("ms until the last one after a reset", reset * 1e3, 100),
        soon("ms, after a second, of those closed in order", closed * 1e3 - 1000, 100),
        exactly("writes finished", written, LEAVING // 2),
        at_most("connections left open", after[0] - before[0], 0),
        at_most("tasks left", after[1] - before[1], 0),
    ]


def _open_files(pids: set[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


async def _tasks(running: Running, target: Target) -> float:
    """Return the asyncio tasks of all workers; the plain service does not tell."""
    if target.plain:
        return 0
    metrics = (await running.get("/metrics", admin=True)).body.decode()
    return sum(
        float(number) for number in re.findall(r"^asyncio_tasks\{.*\} (\S+)", metrics, re.MULTILINE)
    )


async def _ends(running: Running, number: int, seconds: float) -> list[tuple[str, str, float]]:
    """Wait until so many handlers have ended, and return what became of each, and when."""
    file = running.folder / "ends"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= number:
            break
        await asyncio.sleep(0.05)
    return [(method, end, float(at)) for method, end, at in map(str.split, lines)]
