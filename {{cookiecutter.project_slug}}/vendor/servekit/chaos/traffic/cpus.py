"""Which CPU is whose, so that load and service do not take each other's time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# With one worker on the first CPU and the generator alone on the last, a figure is about the
# service; on shared ones it would be about who wins. "Per core" is what the promises are.
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SERVICE_CPU = CPUS[0] if len(CPUS) > 1 else None
LOAD_CPU = CPUS[-1] if len(CPUS) > 1 else None


@contextlib.contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, on one CPU; None changes nothing."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
