"""Chaos excuses the requests that a killed worker can have had, and no others."""

import asyncio
import time

from chaos.faults.kills import Kill
from chaos.traffic.client import Request
from chaos.traffic.load import Load, Outcome, Sample

BEGAN = 1000.0
DEATH = Kill(worker=7, began=BEGAN + 1.0, gone=BEGAN + 1.02)


def had(scheduled, latency, worker=7):
    sample = Sample(scheduled, latency, 0, "IncompleteReadError", worker)
    return DEATH.had(Outcome([sample], began=BEGAN)) == [sample]


def test_what_ran_when_its_worker_was_killed_is_excused():
    assert had(0.5, 0.51)
    assert had(0.9999, 0.0002)
    assert had(1.01, 0.02)
    assert had(0.9, 5, worker=0)


def test_what_ended_before_or_began_after_or_ran_elsewhere_is_not():
    assert not had(0.5, 0.4)
    assert not had(1.03, 0.1)
    assert not had(0.9, 5, worker=8)


async def test_a_load_tells_when_it_began():
    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        before = time.perf_counter()
        load = Load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        outcome = await load.run(Request("/"), rate=50, seconds=0.1)
    assert before <= outcome.began <= time.perf_counter() - 0.07  # the last is sent after 0.08
    assert outcome.failed == len(outcome.samples) == 5
