"""Processes that end with the test that started them, however it ends."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

# The guard's standard input is a pipe from the test, so it reads the end of the file however the
# test dies, kill -9 included; then it kills its process group, which is the others' too.
GUARD = """
trap "" HUP INT QUIT TERM
cat >/dev/null
kill -s KILL 0
"""


@contextlib.contextmanager
def process_group() -> Iterator[int]:
    """Yield a process group of its own, for `Popen`, in which nobody outlives the context."""
    guard = subprocess.Popen(["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE, process_group=0)
    try:
        yield guard.pid
    finally:
        guard.communicate()


@contextlib.contextmanager
def guarded(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with the options of `Popen`; it and what it started are killed at the end."""
    with process_group() as group:
        process = subprocess.Popen(command, process_group=group, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
