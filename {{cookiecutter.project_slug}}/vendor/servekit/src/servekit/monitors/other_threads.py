"""Which other threads compute while the event loop does not, and whether they keep it waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import CodeType, FrameType

from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.stall_evidence import CpuClocks
from servekit.own_code import is_own, line_of
from servekit.thread_frames import current_frames

DEPTH_MAX = 200
COMPUTING = 0.5
HELD_SECONDS = 0.0004
"""Who wants the interpreter gets it within 0.2 ms, or after the switch interval of 0.5 ms."""

Place = tuple[CodeType, int]
"""A function; and the line that is executed of the innermost own one, 0 of all others."""
Stack = tuple[Place, ...]
"""Outermost first: calls from different lines of a function that is further out are one stack."""


class OtherThreads:
    """Tell, sample by sample, threads that compute in C apart from those that hold the interpreter.

    Both use the CPU; of the first the event loop feels nothing. Who looks is a thread that wants
    the interpreter itself at a known time: if it is late and had a CPU, somebody held it. To be
    made in that thread.
    """

    def __init__(self, thread_id: int, native_thread_id: int, interval_seconds: float) -> None:
        self.held: Counter[Stack] = Counter()
        """Samples in which the interpreter was held, by the stack of who computed most."""
        self.free = 0
        """Samples in which others computed and the interpreter was free."""
        self._thread_id = thread_id
        self._interval_seconds = interval_seconds
        self._clocks = CpuClocks(thread_id, native_thread_id)
        self._own_wait = RunQueueWait(threading.get_native_id())
        self._used = self._used_by_each()
        self._before = self._read()

    def close(self) -> None:
        """Close what the kernel's clocks are read by."""
        self._clocks.close()
        self._own_wait.close()

    def look(self, due: float) -> None:
        """Count what was seen since the last look, for a sample that was due at a time."""
        before, self._before = self._before, self._read()
        at, loop, others, waited = (
            now - then for now, then in zip(self._before, before, strict=True)
        )
        if not self._own_wait.known or others < COMPUTING * at or loop >= COMPUTING * at:
            return
        samples = max(1, round(at / self._interval_seconds))
        late = self._before[0] - due
        if late < HELD_SECONDS:
            self.free += samples
        elif late - waited >= HELD_SECONDS:  # else it had no CPU, which says nothing
            self.held[self._busiest()] += samples

    def _read(self) -> tuple[float, float, float, float]:
        """Return the time, the CPU time of the loop, that of the others, our wait for a CPU."""
        now = self._clocks.read()
        others = now.process_cpu - now.thread_cpu - time.thread_time()
        return now.at, now.thread_cpu, others, self._own_wait.seconds()

    def _busiest(self) -> Stack:
        """Return the functions of the thread that computed most since the last time."""
        before, self._used = self._used, self._used_by_each()
        grown = {ident: seconds - before.get(ident, 0.0) for ident, seconds in self._used.items()}
        busiest = max(grown, key=grown.__getitem__, default=0)
        if not grown.get(busiest):
            return ()
        # Last of all: whoever reads a file lets the threads go on, to other frames.
        with current_frames() as frames:
            return functions(frames.get(busiest))

    def _used_by_each(self) -> dict[int, float]:
        """Return the CPU time of each other thread."""
        used: dict[int, float] = {}
        for thread in threading.enumerate():
            if thread.ident not in (self._thread_id, threading.get_ident()):
                # Opened each time: one a thread, kept, would be many open files.
                clock = RunQueueWait(thread.native_id or 0)
                used[thread.ident or 0] = clock.cpu_seconds()
                clock.close()
        return used


def functions(frame: FrameType | None) -> Stack:
    """Return the functions of a stack, outermost first."""
    places: list[Place] = []
    searched = True
    while frame is not None and len(places) < DEPTH_MAX:
        code = frame.f_code
        found = searched and is_own(code.co_filename)
        places.append((code, line_of(frame) if found else 0))
        searched = searched and not found
        frame = frame.f_back
    return tuple(reversed(places))
