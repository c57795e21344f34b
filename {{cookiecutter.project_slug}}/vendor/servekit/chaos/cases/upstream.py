"""An upstream that leaves some calls without an answer spoils only those."""

from __future__ import annotations

from chaos.faults.neighbour import Neighbour
from chaos.report import Figure, at_least, at_most, case, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Request
from chaos.traffic.load import Load, Outcome, Sample

RATE = 200
ONE_IN = 20
DEADLINE_SECONDS = 1.0
LATE_SECONDS = 0.1
OK = 200

GOOD = Request("/chaos/upstream/rates")
SILENT = Request("/chaos/upstream/silent")


@case(18, "1 of 20 upstream calls never answers, deadline 1 s")
async def silent_upstream(target: Target) -> list[Figure]:
    """Load a route that asks an upstream, first a good one, then one that leaves calls open."""
    seconds = target.pace(15, 4)
    async with Neighbour() as neighbour:
        settings = {
            "CHAOS_UPSTREAM_URL": neighbour.url,
            "TIMEOUT_REQUEST_SECONDS": f"{DEADLINE_SECONDS:g}",
        }
        async with target.start(settings) as running:
            await Load(running.url).run(GOOD, rate=RATE, seconds=2)
            usual = await Load(running.url).run(GOOD, rate=RATE, seconds=seconds)
            mixed = await _one_in_twenty_silent(running, seconds)
    others = mixed.select(lambda sample: not _was_silent(sample))
    silent = mixed.select(_was_silent)
    good = sum(one.status == OK and one.latency <= DEADLINE_SECONDS for one in others.samples)
    told = sum(
        one.status != 0 and one.latency <= DEADLINE_SECONDS + LATE_SECONDS for one in silent.samples
    )
    return [
        timed(at_least("others answered in time", good / len(others.samples), 0.95)),
        timed(
            at_most(
                "p99 of the others / usual",
                others.percentile(0.99) / usual.percentile(0.99),
                2,
                "x",
            )
        ),
        timed(
            at_most(
                "p99 of the others", others.percentile(0.99) * 1e3, DEADLINE_SECONDS * 1e3, " ms"
            )
        ),
        timed(at_least("unanswered calls told by the deadline", told / len(silent.samples), 1)),
    ]


async def _one_in_twenty_silent(running: Running, seconds: float) -> Outcome:
    turns = [GOOD] * (ONE_IN - 1) + [SILENT]
    return await Load(running.url, connections=400).run(turns, rate=RATE, seconds=seconds)


def _was_silent(sample: Sample) -> bool:
    return round(sample.scheduled * RATE) % ONE_IN == ONE_IN - 1
