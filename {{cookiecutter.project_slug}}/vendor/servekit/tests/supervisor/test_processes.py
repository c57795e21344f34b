"""Whatever keeps a process from starting is told, and nothing of it stays."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from servekit.supervisor import events
from servekit.supervisor.channel import encode
from servekit.supervisor.children import ChildSpawner
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


class DyingLauncher:
    """Starts what says why it cannot, and ends: all of it is there at once, in any order."""

    def __init__(self, exited, *, early):
        self.exited = exited
        self.early = early

    async def open(self): ...

    async def start(self, _assignment, fds):
        failed = {"event": "failed", "reason": "no such table", "trace": "x" * 300_000}
        channel = socket.socket(fileno=os.dup(fds[0]))

        def end() -> None:
            with channel:
                channel.sendall(encode(failed))

        threading.Thread(target=end).start()
        if self.early:
            self.exited(PID, 3)
        else:
            asyncio.get_running_loop().call_soon(self.exited, PID, 3)
        return PID

    def close(self): ...


PID = 2**22 + 1
"""Of no process: it is above what the kernel gives."""


def channels() -> int:
    """Return how many sockets and pipes are open."""
    files = (os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return sum("socket:[" in file or "pipe:[" in file for file in files)


@pytest.mark.parametrize("early", [True, False])
async def test_what_a_worker_said_last_counts_before_its_end(processes, monkeypatch, early):
    processes, told = processes
    launcher = DyingLauncher(processes._note_exit, early=early)
    monkeypatch.setattr(processes, "_launcher", lambda _: launcher)
    processes.carry_out(events.Load(1))
    await told.until(events.Loaded)
    before = channels()
    processes.carry_out(events.Launch(7, 0, 1))
    assert await told.until(events.Exited) == events.Exited(7, 3)
    assert [type(event) for event in told[-2:]] == [events.StartFailed, events.Exited]
    async with asyncio.timeout(patience(5)):
        while channels() > before:  # noqa: ASYNC110 - all happens at once
            await asyncio.sleep(0)
    assert not processes.workers
    assert not processes._early_exits


async def test_a_worker_whose_child_keeps_its_channel_has_ended_all_the_same(
    processes, monkeypatch
):
    processes, told = processes
    kept = []

    class Launcher(DyingLauncher):
        async def start(self, _assignment, fds):
            kept.append(socket.socket(fileno=os.dup(fds[0])))
            asyncio.get_running_loop().call_later(0.01, self.exited, PID, -9)
            return PID

    launcher = Launcher(processes._note_exit, early=False)
    monkeypatch.setattr(processes, "_launcher", lambda _: launcher)
    processes.carry_out(events.Load(1))
    processes.carry_out(events.Launch(7, 0, 1))
    assert await told.until(events.Exited) == events.Exited(7, -9)
    kept[0].close()


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


MALFORMED = ['{"status": 3}', "[]", "3", "nonsense", '{"event": "exited"}', "\\xff"]
SAYING = """
import os, socket, sys, time
control = socket.socket(fileno=int(sys.argv[1]))
control.sendall(b'{"event": "loaded", "pid": %d}\\n' % os.getpid() + sys.argv[2].encode() + b"\\n")
time.sleep(60)
"""


@pytest.mark.parametrize("line", MALFORMED)
async def test_a_zygote_that_is_not_understood_is_ended_and_its_code_loaded_anew(
    processes, monkeypatch, line
):
    processes, told = processes

    def start(_self, _module, fds, **_):
        command = [sys.executable, "-c", SAYING, str(fds[0]), line]
        return subprocess.Popen(command, pass_fds=fds)

    monkeypatch.setattr(ChildSpawner, "start", start)
    with capture_logs() as logs:
        processes.carry_out(events.Load(1))
        assert await told.until(events.LauncherLost) == events.LauncherLost(1)
        await all_reaped(processes)
    assert "zygote_not_understood" in [record["event"] for record in logs]


async def test_a_zygote_that_nobody_can_hear_is_told_and_ended(processes, monkeypatch):
    processes, told = processes

    def no_descriptor(_self):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "dup", no_descriptor)
    processes.carry_out(events.Load(1))
    assert "Too many open files" in (await told.until(events.LoadFailed)).reason
    await all_reaped(processes)


async def all_reaped(processes):
    async with asyncio.timeout(patience(5)):
        while processes.reaper._waiting:
            processes.reaper.reap()
            await asyncio.sleep(0.01)


async def test_a_service_ends_at_once_though_its_zygote_answers_no_start(processes, monkeypatch):
    processes, told = processes

    def start(_self, _module, fds, **_):
        other = '{"event": "exited", "pid": 0, "status": 0}'
        command = [sys.executable, "-c", SAYING, str(fds[0]), other]
        return subprocess.Popen(command, pass_fds=fds)

    monkeypatch.setattr(ChildSpawner, "start", start)
    processes.carry_out(events.Load(1))
    await told.until(events.Loaded)
    processes.carry_out(events.Launch(7, 0, 1))
    await asyncio.sleep(0.05)

    async def reap() -> None:
        while True:
            processes.reaper.reap()
            await asyncio.sleep(0.01)

    reaping = asyncio.create_task(reap())
    async with asyncio.timeout(patience(10)):
        await processes.end()
        while processes.reaper._waiting:  # noqa: ASYNC110 - until the zygote is gone
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    reaping.cancel()
