"""What a still event loop is doing: its thread's stack, and who used the CPU meanwhile."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import time
from dataclasses import dataclass
from inspect import CO_COROUTINE
from pathlib import Path
from types import FrameType

from servekit.monitors.busy_clock import RunQueueWait
from servekit.own_code import is_own, line_of

STACK_FRAMES_MAX = 30
ASYNCIO = f"{Path(asyncio.__file__).parent}{os.sep}"
"""Where the loop's own code lies; others have folders of that name too."""

MOSTLY = 0.5
NEARLY = 0.8


@dataclass(frozen=True)
class CpuReading:
    """Clocks of one moment, in seconds."""

    at: float
    thread_cpu: float
    process_cpu: float
    run_queue_wait: float

    def deprived_since(self, earlier: CpuReading) -> float:
        """Time in which the thread could not run as it had no CPU."""
        return self.run_queue_wait - earlier.run_queue_wait

    def starved_since(self, earlier: CpuReading, blocked: float, least: float) -> bool:
        """Tell whether a block is mostly time without a CPU, and without that shorter than `least`.

        Where this process's own threads took the CPU, nobody else did.
        """
        deprived = self.deprived_since(earlier)
        others = self.process_cpu - earlier.process_cpu - (self.thread_cpu - earlier.thread_cpu)
        return (
            deprived > MOSTLY * blocked
            and blocked - deprived < least
            and others < MOSTLY * deprived
        )

    def computed_since(self, earlier: CpuReading, due: float) -> float:
        """Return the time since `due`, if this process computed nearly all of it; else 0.

        Time in which the thread had no CPU is not counted. One that was stopped did not compute.
        """
        overdue = self.at - due - self.deprived_since(earlier)
        return overdue if self.process_cpu - earlier.process_cpu >= NEARLY * overdue else 0.0

    def computed_by(self, earlier: CpuReading) -> str:
        """Tell whether it was mostly the thread itself that computed, or other threads."""
        used = self.process_cpu - earlier.process_cpu
        return "cpu" if self.thread_cpu - earlier.thread_cpu >= MOSTLY * used else "other_threads"

    def cause_since(self, earlier: CpuReading) -> str:
        """Tell computation, waiting in a call, and other threads (that hold the GIL) apart."""
        elapsed = self.at - earlier.at - self.deprived_since(earlier)
        own = self.thread_cpu - earlier.thread_cpu
        other_threads = self.process_cpu - earlier.process_cpu - own
        if own >= MOSTLY * elapsed:
            return "cpu"
        return "other_threads" if other_threads >= MOSTLY * elapsed else "blocking_call"


class CpuClocks:
    """Read the clocks of one thread from another."""

    def __init__(self, thread_id: int, native_thread_id: int) -> None:
        # Not on macOS: what the process computes counts as this thread's there.
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        self._thread_clock: int | None = clock_of(thread_id) if clock_of else None
        self._wait = RunQueueWait(native_thread_id)

    def read(self) -> CpuReading:
        process = time.process_time()
        cpu = process if self._thread_clock is None else time.clock_gettime(self._thread_clock)
        return CpuReading(time.monotonic(), cpu, process, self._wait.seconds())

    def close(self) -> None:
        self._wait.close()


def loop_frame() -> FrameType | None:
    """Return the frame that called uvloop, which has none of its own; for coroutines to call."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way
    while frame is not None and frame.f_code.co_flags & CO_COROUTINE:
        frame = frame.f_back
    return None if frame is None or of_asyncio(frame) else frame


def callback_frame(frame: FrameType | None, loop: FrameType | None) -> FrameType | None:
    """Return the outermost frame of what the event loop called: its end gives the loop its turn."""
    inner = frame
    while frame is not None and frame is not loop and not of_asyncio(frame):
        inner, frame = frame, frame.f_back
    return inner


def is_waiting(frame: FrameType, loop: FrameType | None) -> bool:
    """Tell whether the loop itself is innermost: it waits for something to do."""
    return frame is loop or of_asyncio(frame) or frame.f_code.co_filename == selectors.__file__


def of_asyncio(frame: FrameType) -> bool:
    """Tell whether a frame is the event loop's own."""
    return frame.f_code.co_filename.startswith(ASYNCIO)


def stack_lines(frame: FrameType | None) -> list[str]:
    """Return `file:line function` of a stack, innermost first."""
    lines: list[str] = []
    while frame is not None and len(lines) < STACK_FRAMES_MAX:
        code = frame.f_code
        lines.append(f"{code.co_filename}:{line_of(frame)} {code.co_qualname}")
        frame = frame.f_back
    return lines


def own_line(stack: list[str]) -> str:
    """Return the innermost line that is not a library's: where the repair is due."""
    own = (line for line in stack if is_own(line.rpartition(" ")[0].rpartition(":")[0]))
    return next(own, stack[0] if stack else "")
