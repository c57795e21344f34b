"""Ends the processes that `multiprocessing` started from here, where no interpreter's end does."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

END_SECONDS = 0.4
PAUSE_SECONDS = 0.01


def end_children() -> None:
    """End pools, managers and processes of this process, and kill those that do not end in time.

    As the interpreter does at its end; `os._exit` leaves them behind, and each waits for ever.
    """
    if not own_children():
        return
    from multiprocessing import util  # loaded already: it has started something

    # A pool replaces processes that end, so it is told first; in a thread, as that may hang.
    telling = threading.Thread(target=util._run_finalizers, args=[0], daemon=True)  # type: ignore[attr-defined]  # noqa: SLF001
    with contextlib.suppress(RuntimeError):  # the system allows no further thread
        telling.start()
        telling.join(END_SECONDS)
    for child in own_children():
        child.terminate()
    deadline = time.monotonic() + END_SECONDS
    while own_children() and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    for child in own_children():
        child.kill()


def own_children() -> list[BaseProcess]:
    """Return the processes that live; a worker remembers those of the zygote, which are not its."""
    if "multiprocessing" not in sys.modules:
        return []
    from multiprocessing import active_children

    this = os.getpid()
    return [child for child in active_children() if child._parent_pid == this]  # type: ignore[attr-defined]  # noqa: SLF001


def end_at_once(code: int) -> NoReturn:
    """End this process without what an interpreter does then, such as to wait for threads.

    What was printed is written, unless nobody takes it: that is no reason to live on.
    """
    try:
        # In a thread: a pipe that is full waits for who reads it.
        writing = threading.Thread(target=flush, daemon=True)
        with contextlib.suppress(RuntimeError):  # the system allows no further thread
            writing.start()
            writing.join(END_SECONDS)
    finally:
        os._exit(code)


def flush() -> None:
    """Write what was printed, if anybody takes it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def end_within(seconds: float) -> None:
    """Have this process end in any case, whatever threads its interpreter would wait for."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(1)

    with contextlib.suppress(RuntimeError):  # the system allows no further thread
        threading.Thread(target=end, daemon=True).start()
