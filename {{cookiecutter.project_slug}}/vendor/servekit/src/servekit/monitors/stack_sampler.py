"""Samples the stack of one thread from another: a profile without ptrace and without patches."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from types import CodeType, FrameType

from servekit.monitors.busy_clock import RunQueueWait
from servekit.monitors.other_threads import OtherThreads, Stack, functions
from servekit.monitors.stall_evidence import is_waiting
from servekit.own_code import begins_at
from servekit.thread_frames import current_frames

DEPTH_WHEN_FULL = 3
STACKS_MAX = 10_000
SWITCH_SECONDS = 0.0005
COMPUTES = 0.5
"""Of the time since the last sample: less, and the thread rested."""


class Switching:
    """Threads take turns sooner while any sampler runs.

    At the usual 5 ms many a sample would wait until the loop polls, and be counted as idle.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samplers = 0
        self._usual = 0.0

    def begin(self) -> None:
        with self._lock:
            if not self._samplers:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH_SECONDS)
            self._samplers += 1

    def end(self) -> None:
        with self._lock:
            self._samplers -= 1
            if not self._samplers:
                sys.setswitchinterval(self._usual)


SWITCHING = Switching()


class StackSampler:
    """Count the stacks that a thread is seen in, `hertz` times a second, until stopped.

    Costs a few percent of a core at 100 Hz while it runs. Time in which the event loop waits for
    something to do counts as idle; under uvloop its `loop_frame()` tells. A call into C that keeps
    the interpreter keeps the sampler from it too: it counts for as long, at the line that goes on
    when the sampler is let in, which is that of the call. `cpu_only` counts as idle
    all time in which the thread did not compute, too. With the kernel's number of the thread the
    other threads are looked at too.

    Raises:
        ValueError: The system has no clock for that.
    """

    def __init__(
        self,
        thread_id: int,
        *,
        loop_frame: FrameType | None = None,
        hertz: float = 100,
        cpu_only: bool = False,
        native_thread_id: int = 0,
    ) -> None:
        self.interval_seconds = 1 / hertz
        self.stacks: Counter[Stack] = Counter()
        self.idle = 0
        self.others: OtherThreads | None = None
        self._native_thread_id = native_thread_id
        self._thread_id = thread_id
        self._loop_frame = loop_frame
        self._clock = thread_clock(thread_id) if cpu_only else None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="stack-sampler", daemon=True)

    def start(self) -> None:
        """Begin to sample; a computing thread is interrupted sooner until `stop`."""
        self._thread.start()
        SWITCHING.begin()

    def stop(self) -> None:
        """End the sampling; returns after the last sample."""
        self._stopped.set()
        self._thread.join()
        SWITCHING.end()

    def _sample(self) -> None:
        due = sampled = time.monotonic()
        computed, rests = 0.0, False
        others, own_wait = None, RunQueueWait(threading.get_native_id())
        waited = own_wait.seconds()
        if self._native_thread_id:
            others = self.others = OtherThreads(
                self._thread_id, self._native_thread_id, self.interval_seconds
            )
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            with current_frames() as frames:
                frame = frames.get(self._thread_id)
                woke, before_sleep, waited = time.monotonic(), waited, own_wait.seconds()
                kept = woke - due - (waited - before_sleep)
                if self._clock is not None:
                    before, computed = computed, time.clock_gettime(self._clock)
                    since, sampled = sampled, time.monotonic()
                    rests = computed - before < COMPUTES * (sampled - since)
                if frame is not None and (rests or is_waiting(frame, self._loop_frame)):
                    self.idle += 1
                elif frame is not None:
                    self._count(functions(frame), 1 + int(kept / self.interval_seconds))
            del frames, frame  # of threads that go on
            if others is not None:
                others.look(due)
            # Irregular, or it would see always the same part of work that comes at regular times.
            due = time.monotonic() + self.interval_seconds * random.uniform(0.5, 1.5)  # noqa: S311
        own_wait.close()
        if others is not None:
            others.close()

    def _count(self, stack: Stack, samples: int) -> None:
        if stack not in self.stacks and len(self.stacks) >= STACKS_MAX:
            stack = stack[:DEPTH_WHEN_FULL]  # what is most often alike, so that few are added
        self.stacks[stack] += samples

    def collapsed(self) -> str:
        """Return `outer;inner count` lines, as flame-graph tools read them."""
        lines = [written(stack, count) for stack, count in self.stacks.items()]
        if self.others is not None:
            held = self.others.held.items()
            lines += [written(stack, count, "(interpreter held)") for stack, count in held]
            lines.append(f"(interpreter free) {self.others.free}")
        return "\n".join([*lines, f"(idle) {self.idle}", ""])


def thread_clock(thread_id: int) -> int:
    """Return the clock of a thread's CPU time.

    Raises:
        ValueError: There is none, as on macOS.
    """
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        raise ValueError("mode cpu needs a clock of each thread, which this system has not: wall.")
    clock: int = clock_of(thread_id)
    return clock


def written(stack: Stack, count: int, *outermost: str) -> str:
    """Return a line of a collapsed profile."""
    names = (name(code, line) for code, line in stack)
    return f"{';'.join([*outermost, *names])} {count}"


def name(code: CodeType, line: int = 0) -> str:
    """Return how a function is written in a collapsed stack, at a line or where it begins."""
    return f"{code.co_qualname} ({code.co_filename}:{line or begins_at(code)})"
