"""Every process of a pool is there again, whatever failed after its place was taken."""

import asyncio
import errno
import os

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servekit.offload import process, processes as pool_of_processes
from servekit.offload.errors import OffloadTimeout
from servekit.offload.processes import Processes
from servekit.testing import patience
from tests.offload import jobs
from tests.test_places_given_back import SIZE, no_thread


def no_process(channel):
    channel.close()
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def no_spawning(channel):
    channel.close()
    raise RuntimeError("can't start new thread")  # of the executor


PROCESS_FAULTS = {
    "no process": (process, "_spawn", no_process),
    "no thread": (process, "_spawned", no_spawning),
    "not connected": (process.OffloadProcess, "_connect", no_thread),
}


@pytest.mark.parametrize("fault", PROCESS_FAULTS)
async def test_all_processes_are_there_again(fault, monkeypatch, tmp_path):
    monkeypatch.setattr(pool_of_processes, "BACKOFF_SECONDS_MIN", 0.01)
    with capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(*PROCESS_FAULTS[fault])
        pool = Processes(registry=CollectorRegistry(), size=SIZE)
        await pool.__aenter__()
        with pytest.raises(OffloadTimeout):
            await pool.run(jobs.pid, timeout_seconds=0.1)
        assert {line["event"] for line in logs} == {"offload_process_start_failed"}
    async with asyncio.timeout(patience(10)):
        await asyncio.gather(*(pool.run(jobs.meet, tmp_path, SIZE) for _ in range(SIZE)))
    await pool.__aexit__(None, None, None)


async def test_a_process_that_dies_as_soon_as_it_is_ready_is_replaced(monkeypatch):
    start, started = process.OffloadProcess.start, []

    async def start_one_that_dies(*arguments):
        started.append(await start(*arguments))
        if len(started) == 1:
            await started[0].end(kill=True)
            await asyncio.sleep(0.01)
        return started[-1]

    monkeypatch.setattr(process.OffloadProcess, "start", start_one_that_dies)
    async with Processes(registry=CollectorRegistry(), size=1) as pool:
        assert await pool.run(jobs.pid, timeout_seconds=patience(5)) == started[1].pid


async def test_a_pool_of_processes_opens_again_after_it_was_closed_at_once():
    pool = Processes(registry=CollectorRegistry(), size=1)
    async with pool:
        pass
    async with pool:
        assert await pool.run(jobs.add, 1, 2, timeout_seconds=patience(5)) == 3
