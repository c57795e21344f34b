"""What a process holds, and by which names: counted in a forked child, so that it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from servekit.monitors.holders import Walk
from servekit.monitors.names import type_name
from servekit.monitors.program import Program
from servekit.own_code import is_own
from servekit.own_threads import in_own_thread
from servekit.process_memory import free_bytes, rss_bytes

COUNT_SECONDS = 120
REAP_PAUSE_SECONDS = 0.002
NICE = 5
"""Beside four processes that take all of two CPUs a count takes 13 s; 34 s by 10, and 5 s by 0."""
SCHEMA = 1
COUNT_MIN = 20
BYTES_MIN = 65_536
PIECE_BYTES = 65_536
LIBRARY = "<unknown>"


async def count_heap(top: int, requests: int = 0) -> bytes:
    """Return as JSON the `top` types and holders by size, with count and shallow bytes of each.

    The process pauses for the fork, a few milliseconds. The child writes to what it looks at, and
    so may take as much memory as the process once more, and half of that for its own notes.
    `requests` is what the process has served, to be told with it.

    Raises:
        RuntimeError: There is no memory for it, or no process, or it took too long.
    """
    needed, free = await in_own_thread(look_before)
    if free is not None and needed > free:
        raise RuntimeError(f"A copy of up to {needed >> 20} MiB is made, {free >> 20} are free.")
    ours, theirs = os.pipe()
    try:
        pid = fork()
    except OSError as error:
        os.close(ours)
        os.close(theirs)
        raise RuntimeError(f"No process can be started: {error.strerror}.") from None
    if pid == 0:
        answer_and_exit(theirs, needed, top, requests)
    os.close(theirs)
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            body = await read(ours)
    except TimeoutError:
        raise RuntimeError(f"It took longer than {COUNT_SECONDS} s.") from None
    finally:
        await end(pid)
    if not body.startswith(b"{"):
        raise RuntimeError(body.decode(errors="replace") or "The child that counts was killed.")
    return body


def look_before() -> tuple[int, int | None]:
    """Return the memory that a child may need, and what is free: a millisecond of small files."""
    return rss_bytes(os.getpid()) * 3 // 2, free_bytes()


def fork() -> int:
    """Fork, threads or not: the child touches nothing that a thread may have locked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


async def read(fd: int) -> bytes:
    """Return what comes through a pipe until its other end is closed, and close this one.

    Not by `connect_read_pipe`, of which uvloop's closes a descriptor twice: by then it may be that
    of somebody else.
    """
    loop = asyncio.get_running_loop()
    body = bytearray()
    ended = asyncio.Event()

    def take() -> None:
        with contextlib.suppress(BlockingIOError):
            piece = os.read(fd, PIECE_BYTES)
            body.extend(piece)
            if not piece:
                ended.set()
                loop.remove_reader(fd)

    os.set_blocking(fd, False)
    loop.add_reader(fd, take)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return bytes(body)


async def end(pid: int) -> None:
    """Kill a child and reap it."""
    os.kill(pid, signal.SIGKILL)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC110, ASYNC222 - it does not block
        await asyncio.sleep(REAP_PAUSE_SECONDS)


# In the child


def answer_and_exit(fd: int, memory: int, top: int, requests: int) -> NoReturn:
    """Write what was counted, or why it was not, and end without any clean-up."""
    try:
        become_nobody(fd, memory)
        body = json.dumps(snapshot(top, requests)).encode()
    except BaseException as error:  # noqa: BLE001 - nothing but the pipe is left to tell it
        body = f"{type(error).__name__}: {error}".encode()
    with contextlib.suppress(OSError):
        while body:
            body = body[os.write(fd, body) :]
    os._exit(0)


def become_nobody(fd: int, memory: int) -> None:
    """Let go of what is the parent's, and be the first to end where memory or time runs out."""
    gc.disable()
    signal.set_wakeup_fd(-1)  # what it is told here would wake the parent's loop
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(COUNT_SECONDS)
    # A connection that the parent closes is closed only when nobody else has it.
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if not memory:
        return  # nobody could tell how much it is
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def snapshot(top: int, requests: int) -> dict[str, Any]:
    """Count all objects, those that were frozen too: for a process that ends after it."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    walk = Walk()
    walk.run()
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for holder in walk.holders:
        kind = type_name(holder.kind)
        counts[kind] += holder.count
        sizes[kind] += holder.bytes
    return {
        "schema": SCHEMA,
        "pid": os.getppid(),
        "at": time.time(),
        "requests": requests,
        "objects": counts.total(),
        "bytes": sizes.total(),
        "frozen": frozen,
        "types": [
            {"type": kind, "count": counts[kind], "bytes": size}
            for kind, size in sizes.most_common(top)
        ],
        "holders": holders(walk, top),
    }


def holders(walk: Walk, top: int) -> list[dict[str, Any]]:
    """Return who holds many objects, or large ones: its name, and the types on the way in."""
    many = [one for one in walk.holders if one.count >= COUNT_MIN or one.bytes >= BYTES_MIN]
    many.sort(key=lambda one: -one.bytes)
    program = Program()
    rows = []
    for one in many[:top]:
        name, through = one.path()
        row = {"held_by": name, "through": through, "count": one.count, "bytes": one.bytes}
        bound = program.attribute_of_class(one.owner, name)
        at = walk.places.get(one.root) or program.place_of(name)
        if not is_own(at.rpartition(":")[0] or LIBRARY):
            at = program.attribute_of_state(name) or bound or at
        rows.append(row | {"place": at, "added_at": program.added_at(name, bound or at)})
    return rows
