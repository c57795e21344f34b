"""New connections are spread evenly over the workers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from chaos.report import Figure, at_least, case, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Connection, Request

RUNS = 20
SHARE_MAX = 0.65
RUNS_EVEN_MIN = 19


async def largest_share(running: Running, connections: int) -> float:
    """Open keep-alive connections at once; return the share of the worker that has most."""
    opened = await asyncio.gather(*(Connection.open(running.address) for _ in range(connections)))
    answers = await asyncio.gather(*(each.exchange(Request("/chaos/ping")) for each in opened))
    workers = Counter(json.loads(answer.body)["pid"] for answer in answers)
    for connection in opened:
        connection.close()
    await asyncio.gather(*(each.writer.wait_closed() for each in opened))
    return max(workers.values()) / connections


@case(7, "connections spread over 2 workers, 20 runs")
async def spread(target: Target) -> list[Figure]:
    """Count the runs in which no worker has more than 65 % of the connections."""
    figures = []
    async with target.start(WORKERS="2") as running:
        for connections in (10, 32):
            shares = []
            for _ in range(RUNS):
                shares.append(await largest_share(running, connections))
                await asyncio.sleep(0.05)  # the workers see the connections of the last run close
            even = sum(share <= SHARE_MAX for share in shares)
            even_runs = at_least(f"runs of {connections} within 65 %", even, RUNS_EVEN_MIN)
            figures.append(timed(even_runs))  # who is not on a CPU takes none
    return figures
