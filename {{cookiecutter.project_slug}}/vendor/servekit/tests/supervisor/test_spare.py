"""A load begins with the process that was prepared for it, and never depends on it."""

import asyncio
import contextlib
import os
import signal

from servekit.supervisor import events
from servekit.testing import patience
from tests.supervisor.test_processes import channels, processes

__all__ = ["processes"]  # the fixture


@contextlib.contextmanager
def reaping(processes):
    """Collect children that end, as the supervisor does on SIGCHLD."""

    async def reap() -> None:
        while True:
            processes.reaper.reap()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(reap())
    yield
    task.cancel()


async def until(condition):
    async with asyncio.timeout(patience(20)):
        while not condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


async def test_a_load_begins_with_the_process_that_was_prepared_for_it(processes):
    processes, told = processes
    with reaping(processes):
        processes.carry_out(events.Prepare())
        prepared = processes._spare._process
        processes.carry_out(events.Prepare())
        assert processes._spare._process is prepared
        processes.carry_out(events.Load(1))
        failure = await told.until(events.LoadFailed)
        assert "No module named 'any'" in failure.reason
        assert processes._launchers[1]._process is prepared
        assert processes._spare._process is None
        await until(prepared.exited.done)


async def test_a_prepared_process_that_died_is_no_reason_not_to_load(processes):
    processes, told = processes
    with reaping(processes):
        processes.carry_out(events.Prepare())
        dead = processes._spare._process
        os.kill(dead.pid, signal.SIGKILL)
        await until(dead.exited.done)
        processes.carry_out(events.Load(1))
        failure = await told.until(events.LoadFailed)
        assert "No module named 'any'" in failure.reason
        processes.carry_out(events.Prepare())
        another = processes._spare._process
        assert another.pid != dead.pid
        processes._spare.close()
        await until(another.exited.done)
        await until(processes._launchers[1]._process.exited.done)


async def test_a_prepared_process_ends_at_once_with_the_service(processes):
    processes, _ = processes
    before = channels()
    with reaping(processes):
        processes.carry_out(events.Prepare())
        prepared = processes._spare._process
        await processes.end()
    assert prepared.exited.result() == -signal.SIGKILL
    assert channels() == before


async def test_an_interrupt_from_the_terminal_waits_for_the_imports_of_a_child(processes):
    processes, told = processes
    with reaping(processes):
        processes.carry_out(events.Load(1))
        await until(lambda: processes._launchers[1]._process)
        os.kill(processes._launchers[1]._process.pid, signal.SIGINT)
        assert "No module named 'any'" in (await told.until(events.LoadFailed)).reason
        await until(processes._launchers[1]._process.exited.done)
