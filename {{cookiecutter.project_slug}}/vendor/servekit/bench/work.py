"""What `bench/offload.py` hands over, and the pool of interpreters that it holds the rest against.

It imports nothing but the standard library: an interpreter beside the first refuses pydantic.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
import time
from collections.abc import Iterator


def compute(seconds: float) -> None:
    """Use a CPU for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@contextlib.contextmanager
def interpreters() -> Iterator[concurrent.futures.Executor | None]:
    """Open a pool of one interpreter in a thread of this process; None before Python 3.14."""
    if sys.version_info < (3, 14):
        yield None
    else:
        with concurrent.futures.InterpreterPoolExecutor(max_workers=1) as pool:
            yield pool
