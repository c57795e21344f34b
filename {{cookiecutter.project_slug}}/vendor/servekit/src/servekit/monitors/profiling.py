"""What an operator may ask of a running worker: a CPU profile, the heap by type."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from servekit.monitors.heap import count_heap
from servekit.monitors.stack_sampler import StackSampler, name
from servekit.monitors.stall_evidence import loop_frame
from servekit.monitors.wait_sampler import DescribeRequest, WaitSampler
from servekit.own_threads import in_own_thread

PROFILE_SECONDS_MAX = 120.0
HERTZ_MAX = 1000.0
RECORD_MIB_MAX = 64
MODES = ("wall", "cpu", "waits")
WAITS_HERTZ = 20.0

Command = Callable[[dict[str, Any]], Awaitable[bytes]]
"""Answers an operator, who may give options by name."""


class Profiling:
    """The commands `profile`, `heap` and `memray`, one at a time; `served` counts requests."""

    def __init__(
        self,
        served: Callable[[], int] = int,
        describe_request: DescribeRequest = lambda _frame, _task: {},
    ) -> None:
        self._served = served
        self._describe_request = describe_request
        self._running = False

    @property
    def commands(self) -> dict[str, Command]:
        """The commands by name, as `Program.commands` takes them."""
        return {
            "profile": self.profile,
            "heap": self.heap,
            "memray": self.memray,
        }

    async def profile(self, options: dict[str, Any]) -> bytes:
        """Sample the event loop for `seconds` (5) at `hertz` (100).

        `mode` is `wall` (the default: what its thread does), `cpu` (the same while it computes) or
        `waits` (where requests wait). The answer is text, collapsed, as flame-graph tools read it;
        `around` adds other threads that compute, where requests wait, and the tasks that there are
        at the end. Raises `RuntimeError` while another profile runs, `ValueError` for bad options.
        """
        if options.get("format", "collapsed") != "collapsed":
            raise ValueError("it is given collapsed; the command profile writes other formats.")
        around = "around" in options
        seconds = number(options, "seconds", 5, PROFILE_SECONDS_MAX)
        hertz = number(options, "hertz", 100, HERTZ_MAX)
        mode = options.get("mode", "wall")
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode}.")
        if mode == "waits":
            return await self._waits(seconds, hertz)
        sampler = StackSampler(
            threading.get_ident(),
            loop_frame=loop_frame(),
            hertz=hertz,
            cpu_only=mode == "cpu",
            native_thread_id=threading.get_native_id() if around else 0,
        )
        waits = WaitSampler(self._describe_request, hertz=min(hertz, WAITS_HERTZ))
        with self._alone():
            sampler.start()
            try:
                await (waits.run(seconds) if around else asyncio.sleep(seconds))
            finally:
                sampler.stop()
        text = sampler.collapsed()
        if around:
            text += collapsed_tasks() + collapsed_waits(waits)
        return text.encode()

    async def _waits(self, seconds: float, hertz: float) -> bytes:
        sampler = WaitSampler(self._describe_request, hertz=hertz)
        with self._alone():
            await sampler.run(seconds)
        return sampler.collapsed().encode()

    async def heap(self, options: dict[str, Any]) -> bytes:
        """Return the `top` (50) types of all objects, and who holds them; see `count_heap`."""
        top = int(number(options, "top", 50, 100_000))
        with self._alone():
            return await count_heap(top, self._served())

    async def memray(self, options: dict[str, Any]) -> bytes:
        """Record allocations for `seconds` (5) and return the file that `memray flamegraph` reads.

        Slows the worker two to three times meanwhile. What is alike is summed up, so that the file
        stays small whatever is allocated. Raises `RuntimeError` without memray, or above 64 MiB.
        """
        seconds = number(options, "seconds", 5, PROFILE_SECONDS_MAX)
        try:
            import memray  # a development tool, and slow to import
        except ImportError:
            raise RuntimeError("memray is not installed in this environment.") from None
        with self._alone(), tempfile.TemporaryDirectory(prefix="service-memray-") as folder:
            path = Path(folder) / "allocations.bin"
            with memray.Tracker(path, file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS):
                await asyncio.sleep(seconds)
            mib = path.stat().st_size / 2**20
            if mib > RECORD_MIB_MAX:
                raise RuntimeError(f"{mib:.0f} MiB, {RECORD_MIB_MAX} are allowed: take less time.")
            return await in_own_thread(path.read_bytes)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._running:
            raise RuntimeError("Another profile is running.")
        self._running = True
        try:
            yield
        finally:
            self._running = False


def collapsed_tasks() -> str:
    """Return how many tasks run which coroutine, as lines of a collapsed profile."""
    codes = (getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks())
    counts = Counter(code for code in codes if code is not None)
    return "".join(f"(tasks);{name(code)} {count}\n" for code, count in counts.items())


def collapsed_waits(waits: WaitSampler) -> str:
    """Return where requests waited, in milliseconds, as lines of a collapsed profile."""
    return "".join(f"(waits);{line}\n" for line in waits.collapsed().splitlines() if line)


def number(options: dict[str, Any], name: str, default: float, most: float) -> float:
    """Return a positive number among the options; raise `ValueError` for anything else."""
    value = float(options.get(name, default))
    if not 0 < value <= most:
        raise ValueError(f"{name} must be above 0 and at most {most:g}.")
    return value
