"""How Python runs in a worker: measured, see `make bench BENCH=tuning`."""

from __future__ import annotations

import gc
import sys

THRESHOLDS = (10_000, 2, 50)
SWITCH_SECONDS = 0.001
# As Python came: whoever imports this has not run the application's code yet.
DEFAULT_THRESHOLDS = gc.get_threshold()
DEFAULT_SWITCH_SECONDS = sys.getswitchinterval()


def tune() -> None:
    """Keep the pauses of the collector short, and the event loop's waits for other threads.

    For the end of the imports, before workers are forked: what is frozen stays shared between them,
    and no collection looks at it again. Of what comes later an ordinary collection looks at 30,000
    objects at most, 8 ms; a full one, 60 ms with 100,000 cached values, comes each million
    allocations. A thread that computes gives the interpreter back after 1 ms, not 5. What the
    application has set itself stays.
    """
    gc.collect()
    gc.freeze()
    if gc.get_threshold() == DEFAULT_THRESHOLDS:
        gc.set_threshold(*THRESHOLDS)
    if sys.getswitchinterval() == DEFAULT_SWITCH_SECONDS:
        sys.setswitchinterval(SWITCH_SECONDS)
