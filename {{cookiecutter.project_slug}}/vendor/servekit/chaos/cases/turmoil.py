"""Reloads, kills and scaling at random, under traffic: nothing is lost, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos.faults.kills import Kill, kill
from chaos.report import Figure, at_least, case, exactly, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Request
from chaos.traffic.load import Load, Outcome, Sample

RATE = 200
PAUSE_SECONDS = 0.058
KILL_PAUSE_SECONDS = 3.0
SETTLED_SECONDS = 60.0
WORKERS, MORE_MAX = 2, 3
TOLD_MAX = 5
QUICK = Request("/chaos/wait?seconds=0.01")


@case(46, "reloads, kills and scaling at random, 200 rps", compared=False)
async def turmoil(target: Target) -> list[Figure]:
    """Do one of them 17 times a second; only what a killed worker had in flight fails."""
    seconds = target.length(60, 6)
    chance = random.Random(1)
    async with target.start(WORKERS=str(WORKERS)) as running:
        descriptors = await _descriptors(running)
        load = Load(running.url)
        begin = time.perf_counter()
        sending = asyncio.create_task(load.run(running.traffic(QUICK), rate=RATE, seconds=seconds))
        done, killed = await _stir(running, chance, begin, seconds)
        outcome = await sending
        await _settled(running)
        grown = await _descriptors(running, descriptors) - descriptors
        rows = await _settled(running)
        left = await _processes(running) - {row.get("pid") for row in rows}
    lost = _lost(outcome, killed)
    return [
        timed(at_least("events", sum(done.values()), seconds / PAUSE_SECONDS / 3)),
        timed(at_least("kills", len(killed), seconds / KILL_PAUSE_SECONDS / 4)),
        timed(at_least("requests sent", len(outcome.samples), 0.95 * RATE * seconds)),
        exactly("failed that no killed worker had", _told(lost), "none"),
        timed(exactly("refused", outcome.statuses[503], 0)),
        exactly("workers in the end", len(rows), WORKERS),
        exactly("processes left beside them", len(left), 0),
        exactly("descriptors left in the supervisor", max(0, grown), 0),
    ]


async def _stir(
    running: Running, chance: random.Random, begin: float, seconds: float
) -> tuple[Counter[str], list[Kill]]:
    """Return how much was done of what, and which workers were killed.

    When each is due is drawn beforehand: what was late, as after a kill, follows at once.
    """
    done: Counter[str] = Counter()
    killed: list[Kill] = []
    last_kill = due = begin
    while (now := time.perf_counter()) - begin < seconds:
        if now - last_kill > KILL_PAUSE_SECONDS and chance.random() < 0.1:  # noqa: PLR2004 - seldom
            ready = [row["pid"] for row in await _rows(running) if row["state"] == "ready"]
            if len(ready) > 1:
                killed.append(await kill(chance.choice(ready)))
                last_kill = time.perf_counter()
                done["kill"] += 1
        else:
            more = done["SIGTTIN"] - done["SIGTTOU"]
            scale = signal.SIGTTOU if more > chance.randrange(MORE_MAX) else signal.SIGTTIN
            event = chance.choice([signal.SIGHUP, scale])
            running.signal(event)
            done[event.name] += 1
        due += chance.expovariate(1 / PAUSE_SECONDS)
        await asyncio.sleep(due - time.perf_counter())
    return done, killed


def _lost(outcome: Outcome, kills: list[Kill]) -> list[Sample]:
    """Return the requests that failed although no worker that was killed can have had them."""
    excused = {id(one) for each in kills for one in each.had(outcome)}
    return [one for one in outcome.samples if one.failed and id(one) not in excused]


def _told(lost: list[Sample]) -> str:
    """Return what failed, when and how, as far as it has room."""
    texts = [
        f"{one.error or one.status} of {one.worker}, {one.scheduled:.3f} s + {one.latency:.3f} s"
        for one in lost
    ]
    more = [f"and {len(texts) - TOLD_MAX} more"] if len(texts) > TOLD_MAX else []
    return "; ".join([*texts[:TOLD_MAX], *more]) or "none"


async def _settled(running: Running) -> list[dict[str, Any]]:
    """Return the workers once there are as many as at first, of one generation and all ready."""
    until = time.monotonic() + SETTLED_SECONDS
    while True:
        rows = await _rows(running)
        if len(rows) > WORKERS:
            running.signal(signal.SIGTTOU)
        elif len(rows) < WORKERS:
            running.signal(signal.SIGTTIN)
        same = len({row.get("generation") for row in rows}) == 1
        is_still = len(rows) == WORKERS and same and {row["state"] for row in rows} == {"ready"}
        if is_still or time.monotonic() > until:
            return rows
        await asyncio.sleep(0.5)


async def _rows(running: Running) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((await running.get("/workers", admin=True)).body)[
        "workers"
    ]
    return rows


async def _processes(running: Running) -> set[int]:
    """Return the service's workers among the processes, and the zygotes that have none."""
    parents = {}
    for entry in Path("/proc").iterdir():  # noqa: ASYNC240 - no disk
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                is_ours = b"servekit.worker" in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if is_ours:
                parents[int(entry.name)] = int(fields[1])
    zygotes = {pid for pid, parent in parents.items() if parent == running.process.pid}
    workers = {pid for pid, parent in parents.items() if parent in zygotes}
    return workers | (zygotes - {parents[pid] for pid in workers})


async def _descriptors(running: Running, expected: int | None = None) -> int:
    """Return how many the supervisor has open, once nobody asks it anything.

    What a last reload left is closed a while later: no more than `expected` are waited for.
    """
    until = time.monotonic() + SETTLED_SECONDS
    while True:
        await asyncio.sleep(1)
        count = sum(1 for _ in Path(f"/proc/{running.process.pid}/fd").iterdir())  # noqa: ASYNC240
        if expected is None or count <= expected or time.monotonic() > until:
            return count
