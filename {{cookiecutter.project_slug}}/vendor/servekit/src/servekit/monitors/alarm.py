"""What wakes the watchdog if the loop does not put it off in time.

A thread that wakes to find the loop alive has to take the interpreter from it first: with a second
CPU that costs a busy loop a tenth of its throughput. The kernel's timer wakes nobody who is put
off.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass

from servekit.monitors.stall_evidence import CpuReading
from servekit.monitors.system_calls import Timer


@dataclass(frozen=True, slots=True)
class Due:
    """When the alarm goes off, and what the clocks were when that was set."""

    at: float
    reading: CpuReading


class TimerAlarm:
    """One that the kernel keeps."""

    def __init__(self, due: Due) -> None:
        self.latest = self._armed = due
        """What the loop last asked for."""
        self._timer = Timer()

    def put_off(self, due: Due) -> None:
        """Go off later, unless it is too late for that; for the loop's thread."""
        self.latest = due
        if time.monotonic() < self._armed.at:
            self.arm()

    def arm(self) -> Due:
        """Go off when the loop last asked for it, which may be now."""
        self._armed = due = self.latest
        self._timer.set(due.at)
        return due

    def wait(self) -> Due:
        """Return what it was set to when it went off; for the thread that it wakes."""
        self._timer.wait()
        return self._armed

    def ring(self) -> None:
        """Let it go off now."""
        self._timer.set(1e-9)

    def close(self) -> None:
        """Give the timer back; for the thread that waited."""
        self._timer.close()


class PolledAlarm:
    """One that wakes up to see whether it was put off, where the kernel has no such timer."""

    def __init__(self, due: Due) -> None:
        self.latest = self._armed = due
        self._earlier = threading.Event()

    def put_off(self, due: Due) -> None:
        """Go off later; for the loop's thread."""
        self.latest = due
        if due.at < self._armed.at:
            self._earlier.set()

    def arm(self) -> Due:
        """Go off when the loop last asked for it, which may be now."""
        self._earlier.clear()
        self._armed = self.latest
        return self._armed

    def wait(self) -> Due:
        """Return what it was set to; for the thread that it wakes, also if it was put off."""
        self._earlier.wait(max(0.0, self._armed.at - time.monotonic()))
        return self._armed

    def ring(self) -> None:
        """Let it go off now."""
        self._earlier.set()

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


Alarm = TimerAlarm | PolledAlarm


def alarm(due: Due) -> Alarm:
    """Return the best alarm that this system has."""
    if sys.platform == "linux":
        try:
            return TimerAlarm(due)
        except OSError:
            pass
    return PolledAlarm(due)
