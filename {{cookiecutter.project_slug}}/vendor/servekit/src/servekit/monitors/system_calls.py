"""System calls that never wait and so keep the interpreter's lock, unlike those of `os`.

Whoever gives the lock up while other threads compute waits for it for milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys

_LIBC = ctypes.PyDLL(None, use_errno=True)

if sys.platform == "linux":
    _LIBC.pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
    _LIBC.pread.restype = ctypes.c_ssize_t
    _LIBC.timerfd_create.argtypes = [ctypes.c_int, ctypes.c_int]
    _LIBC.timerfd_settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1


class SmallFile:
    """A file of the kernel's below 64 bytes that never gets shorter; for any number of threads."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._buffer = ctypes.create_string_buffer(64)

    def read(self) -> bytes:
        """Return what it holds now; raises OSError."""
        if _LIBC.pread(self._fd, self._buffer, 64, 0) < 0:
            raise OSError(ctypes.get_errno(), "the kernel's file cannot be read")
        return self._buffer.value

    def close(self) -> None:
        os.close(self._fd)


class _Times(ctypes.Structure):
    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Timer:
    """A timer of the kernel's, which a thread can wait for without the interpreter; Linux only."""

    def __init__(self) -> None:
        """Raise OSError where the kernel has none to give."""
        self._fd: int = _LIBC.timerfd_create(CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        self._times = _Times()
        self._reference = ctypes.byref(self._times)

    def set(self, at: float) -> None:
        """Let it go off at a time of `time.monotonic()`, and no longer at the one before."""
        self._times.seconds = seconds = int(at)
        self._times.ns = int((at - seconds) * 1e9)
        _LIBC.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, self._reference, None)

    def wait(self) -> None:
        """Return once it went off."""
        os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)
