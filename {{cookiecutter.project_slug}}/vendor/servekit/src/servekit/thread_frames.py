"""The frames of threads that run on while they are looked at."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

COLLECTS_ANYWHERE = sys.version_info < (3, 12)
"""Any allocation may collect garbage, also that of a frame's object: see `current_frames`."""

_alone = threading.RLock()
if COLLECTS_ANYWHERE:
    # A process that is forked meanwhile would never collect.
    os.register_at_fork(
        before=_alone.acquire, after_in_parent=_alone.release, after_in_child=_alone.release
    )


@contextmanager
def current_frames() -> Iterator[dict[int, FrameType]]:
    """Yield the innermost frame of each thread; walk them, and read their locals, only inside.

    Until Python 3.12 (gh-106883) a collection may begin while the interpreter makes the object of a
    frame. A finalizer or a callback of it lets the other thread go on and leave that frame, which
    is gone then: a crash; or the interpreter waits for itself. So nothing is collected meanwhile.
    """
    if not COLLECTS_ANYWHERE:
        yield sys._current_frames()  # noqa: SLF001 - the documented way
        return
    with _alone:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield sys._current_frames()  # noqa: SLF001 - the documented way
        finally:
            if collects:
                gc.enable()
