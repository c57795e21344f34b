"""What a process holds, by type: counted in a forked child, so that the process goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from servekit.process_memory import free_bytes, rss_bytes

COUNT_SECONDS = 60
REAP_PAUSE_SECONDS = 0.002
NICE = 10
BATCH = 1000
TYPE_HAS_GC = 1 << 14
"""The flag of types whose objects may refer to others, as `Py_TPFLAGS_HAVE_GC` has it."""


async def count_heap(top: int) -> bytes:
    """Return the `top` types by size as JSON, with count and shallow bytes of each.

    The process pauses for the fork, a few milliseconds. The child writes to what it looks at, and
    so may take as much memory as the process once more.

    Raises:
        RuntimeError: There is no memory for it, or no process, or it took too long.
    """
    # Read before the fork: of no more than this the child may make a copy.
    needed, free = rss_bytes(os.getpid()), free_bytes()
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
        answer_and_exit(theirs, needed, top)
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


def fork() -> int:
    """Fork, threads or not: the child touches nothing that a thread may have locked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


async def read(fd: int) -> bytes:
    """Return what comes through a pipe until its other end is closed, and close this one."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    try:
        return await reader.read()
    finally:
        transport.close()


async def end(pid: int) -> None:
    """Kill a child and reap it."""
    os.kill(pid, signal.SIGKILL)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC110, ASYNC222 - it does not block
        await asyncio.sleep(REAP_PAUSE_SECONDS)


# In the child


def answer_and_exit(fd: int, memory: int, top: int) -> NoReturn:
    """Write what was counted, or why it was not, and end without any clean-up."""
    try:
        become_nobody(fd, memory)
        body = json.dumps(heap_by_type(top)).encode()
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
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def heap_by_type(top: int) -> dict[str, Any]:
    """Count all objects by type, those that were frozen too: for a process that ends after it."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    counts: Counter[type] = Counter()
    sizes: Counter[type] = Counter()
    for held in everything():
        kind = type(held)
        counts[kind] += 1
        try:
            sizes[kind] += sys.getsizeof(held, 0)
        except Exception:  # noqa: BLE001, S112 - a class may say of its size what it likes
            continue
    types = [
        {"type": f"{kind.__module__}.{kind.__qualname__}", "count": counts[kind], "bytes": size}
        for kind, size in sizes.most_common(top)
    ]
    totals = {"objects": counts.total(), "bytes": sizes.total(), "frozen": frozen}
    return {**totals, "types": types}


def everything() -> Iterator[Any]:
    """Yield what the collector tracks, and what only that refers to: bytes, str, int, plain dicts.

    Each once. What has a single reference cannot come twice, which saves remembering most.
    """
    tracked = gc.get_objects()
    yield from tracked
    seen: set[int] = set()
    for start in range(0, len(tracked), BATCH):
        inner = tracked[start : start + BATCH]
        while inner:
            found = new_untracked(inner, seen)
            yield from found
            inner = [held for held in found if type(held).__flags__ & TYPE_HAS_GC]


def new_untracked(holders: list[Any], seen: set[int]) -> list[Any]:
    """Return what `holders` refer to, is not tracked and was not `seen` yet, which it is now."""
    found: list[Any] = []
    for held in gc.get_referents(*holders):
        if gc.is_tracked(held):
            continue
        if sys.getrefcount(held) > ONCE:
            if id(held) in seen:
                continue
            seen.add(id(held))
        found.append(held)
    return found


def references_of_one() -> int:
    """Return what `getrefcount` says in the loop above of an object with one reference."""
    holder = [[b"%d" % 123_456]]
    for held in gc.get_referents(*holder):
        return sys.getrefcount(held)
    raise AssertionError


ONCE = references_of_one()
