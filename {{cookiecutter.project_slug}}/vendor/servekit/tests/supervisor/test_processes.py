"""Whatever keeps a process from starting is told, and nothing of it stays."""

import asyncio
import errno
import json
import os
import socket
from unittest.mock import Mock

import pytest

from servekit.supervisor import events
from servekit.supervisor.launch import StartError
from servekit.supervisor.processes import Processes
from servekit.supervisor.program import SupervisorConfig
from servekit.testing import patience
from servekit.worker.zygote import Zygote


class Told(list[events.Event]):
    """What was told so far, and how to wait for more."""

    async def until(self, kind):
        async with asyncio.timeout(patience(5)):
            while not any(isinstance(event, kind) for event in self):  # noqa: ASYNC110 - all happens at once
                await asyncio.sleep(0)
        return next(event for event in self if isinstance(event, kind))


class FailingLauncher:
    def __init__(self, error):
        self.error = error

    async def open(self):
        raise self.error

    async def start(self, _assignment, _fds):
        raise self.error

    def close(self):
        pass


ERRORS = [
    BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.EMFILE, "Too many open files"),
    StartError("the zygote is gone"),
    KeyError("event"),
    TimeoutError(),
]


@pytest.fixture
async def processes():
    told = Told()
    processes = Processes(
        SupervisorConfig(program="any:thing"), [], tell=told.append, note=lambda _: None
    )
    yield processes, told
    await processes.end()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_worker_that_cannot_be_started_is_told_with_the_reason(
    processes, monkeypatch, error
):
    processes, told = processes
    monkeypatch.setattr(processes, "_launcher", lambda _: FailingLauncher(error))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers, not files
    processes.carry_out(events.Load(1))
    assert (await told.until(events.LoadFailed)).reason
    processes.carry_out(events.Launch(7, 0, 1))
    failure = await told.until(events.StartFailed)
    assert str(error.args[-1] if error.args else "") in failure.reason
    assert (await told.until(events.Exited)) == events.Exited(7, None)
    await asyncio.sleep(0)
    assert not processes.workers
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


def test_a_zygote_that_cannot_fork_says_so_and_lives_on(monkeypatch):
    ours, theirs = socket.socketpair()
    kept = os.dup(0)
    monkeypatch.setattr("servekit.worker.zygote.signal", FakeSignals())
    zygote = Zygote(theirs, Mock(), {})

    def fork():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("os.fork", fork)
    zygote._fork({}, [kept])
    assert "temporarily unavailable" in json.loads(ours.recv(4096))["reason"]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(kept)
    for end in (ours, theirs, zygote._wakeup, zygote._alarm):
        end.close()


class FakeSignals:
    """What a zygote does to its process' signals, left out."""

    SIGCHLD = 17

    def set_wakeup_fd(self, *_, **__):
        pass

    def signal(self, *_):
        pass
