"""The heap by type, counted in a child: everything once, without harm to the process."""

import asyncio
import errno
import gc
import json
import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import uvloop
from fastapi import FastAPI
from starlette.applications import Starlette

from bench.monitors import heap_pause_ms
from servekit import process_memory
from servekit.monitors import heap
from servekit.monitors.profiling import Profiling
from servekit.testing import patience

MODULE_LEVEL: list[object] = []


@pytest.fixture(autouse=True)
def _in_turn_with_other_tests(monkeypatch):
    """Let the child be no nicer than who waits for it, which is a test with a limit."""
    monkeypatch.setattr(heap, "NICE", 0)


class Leaked:
    pass


async def rows():
    summary = json.loads(await Profiling().heap({"top": 10_000}))
    return {row["type"]: row for row in summary["types"]}


def one_text_that_all_share():
    name = str(time.time())
    return [[name, name, (name,)] for _ in range(20_000)]


def in_what_was_frozen():
    MODULE_LEVEL.extend(bytearray(b"%d" % number) for number in range(20_000))


LEAKS = [
    lambda: [Leaked() for _ in range(20_000)],
    lambda: [b"%d" % number for number in range(20_000)],
    lambda: [{"k": (str(number),)} for number in range(20_000)],
    lambda: [({"k": 0},) for _ in range(20_000)],
    lambda: {number * 1000 for number in range(1, 20_001)},
    in_what_was_frozen,
    one_text_that_all_share,
]
GROWTH = {
    f"{__name__}.Leaked": 20_000,
    "builtins.bytes": 20_000,
    "builtins.str": 20_000,  # the shared one is one more
    "builtins.dict": 40_000,  # those of the texts, and plain ones
    "builtins.int": 20_000,
    "builtins.bytearray": 20_000,
}


async def test_what_is_held_is_counted_once():
    gc.collect()
    before = await rows()
    gc.freeze()
    try:
        held = [hold() for hold in LEAKS]
        after = await rows()
    finally:
        gc.unfreeze()
        MODULE_LEVEL.clear()
    del held
    none = {"count": 0}
    grown = {kind: after[kind]["count"] - before.get(kind, none)["count"] for kind in GROWTH}
    assert grown == pytest.approx(GROWTH, abs=2000)  # what reading it took


async def test_the_state_of_each_of_several_applications_is_told_with_its_title():
    applications = [Starlette(), FastAPI(title="Shop"), FastAPI(title="Desk")]
    for application in applications[1:]:
        application.state.kept = [bytes(300) for _ in range(1000)]
    told = json.loads(await Profiling().heap({"top": 10_000}))
    names = {row["held_by"] for row in told["holders"]}
    assert {"Shop app.state.kept", "Desk app.state.kept"} <= names


def test_a_million_objects_are_counted_while_the_loop_runs():
    held = [[] for _ in range(1_000_000)]  # type: ignore[var-annotated]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(3):  # the pause is the fork: `make bench BENCH=monitors` prints it
            began = time.monotonic()
            pause = runner.run(heap_pause_ms()) / 1000
            took = time.monotonic() - began
            if pause < took / 4:
                break
    assert pause < took / 4
    assert len(held) == 1_000_000


def children():
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def open_fds():
    return len([*Path("/proc/self/fd").iterdir()])


async def refused(text):
    before = children()
    with pytest.raises(RuntimeError, match=text):
        await Profiling().heap({})
    assert children() == before


async def test_where_no_process_can_start_it_says_so(monkeypatch):
    def no_fork():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", no_fork)
    before = open_fds()
    await refused("No process can be started: Resource temporarily unavailable")
    assert open_fds() == before


async def test_where_memory_is_short_it_is_not_tried(monkeypatch):
    monkeypatch.setattr(heap, "free_bytes", lambda: 10 * 2**20)
    await refused("MiB is made, 10 are free")


async def test_a_child_that_needs_too_much_memory_says_so(monkeypatch):
    monkeypatch.setattr(heap, "snapshot", lambda *_: bytearray(2**40))
    await refused("MemoryError")


async def test_a_child_that_takes_too_long_is_killed(monkeypatch):
    monkeypatch.setattr(heap, "COUNT_SECONDS", 1)
    monkeypatch.setattr(heap, "snapshot", lambda *_: time.sleep(60))
    await refused("longer than 1 s|was killed")


async def test_a_child_that_is_killed_is_no_answer(monkeypatch):
    monkeypatch.setattr(heap, "snapshot", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    await refused("was killed")


async def test_who_gives_up_leaves_no_child(monkeypatch):
    monkeypatch.setattr(heap, "snapshot", lambda *_: time.sleep(60))
    before = children()
    asking = asyncio.create_task(Profiling().heap({}))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    assert children() == before


@pytest.mark.parametrize("turns", range(4))
async def test_who_gives_up_closes_no_file_that_is_opened_next(turns):
    ours, theirs = os.pipe()
    reading = asyncio.create_task(heap.read(ours))
    for _ in range(turns):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    if not turns:
        os.close(ours)  # it never began
    await asyncio.sleep(0)
    other = os.open(os.devnull, os.O_RDONLY)
    del reading
    gc.collect()
    os.fstat(other)
    os.close(other)
    os.close(theirs)


async def test_a_connection_that_is_closed_meanwhile_is_closed_for_its_client(monkeypatch):
    monkeypatch.setattr(heap, "snapshot", lambda *_: time.sleep(60))
    ours, clients = socket.socketpair()
    asking = asyncio.create_task(Profiling().heap({}))
    await asyncio.sleep(0.1)
    ours.close()
    clients.settimeout(patience(5))
    assert clients.recv(1) == b""
    asking.cancel()
    await asyncio.wait([asking])
    clients.close()


def allocate_until(done):
    while not done.is_set():
        [*range(1000)]


async def test_threads_that_work_meanwhile_do_not_matter():
    done = threading.Event()
    allocating = threading.Thread(target=allocate_until, args=[done])
    allocating.start()
    try:
        for _ in range(2):
            assert "builtins.str" in await rows()
    finally:
        done.set()
        allocating.join()


def test_memory_that_can_be_had_is_the_least_of_every_limit(tmp_path):
    new, old, none = tmp_path / "new", tmp_path / "old", tmp_path / "none"
    for folder, files in {
        new: {"memory.max": "1000", "memory.current": "700", "memory.stat": "inactive_file 100"},
        old: {
            "memory.limit_in_bytes": "900",
            "memory.usage_in_bytes": "600",
            "memory.stat": "total_inactive_file 50",
        },
        none: {"memory.max": "max", "memory.current": "700", "memory.stat": ""},
    }.items():
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert process_memory.free_bytes([new, none]) == 400
    assert process_memory.free_bytes([new, old]) == 350
    assert (process_memory.free_bytes([none]) or 0) > 2**20  # the machine's


async def test_where_nobody_can_tell_its_size_a_process_has_no_limit(monkeypatch):
    def limit(*_: object) -> dict[str, int]:
        return {"limit": resource.getrlimit(resource.RLIMIT_AS)[0]}

    monkeypatch.setattr(heap, "rss_bytes", lambda _: 0)
    monkeypatch.setattr(heap, "snapshot", limit)
    assert json.loads(await Profiling().heap({})) == limit()
