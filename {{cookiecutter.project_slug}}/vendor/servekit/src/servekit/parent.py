"""Notices in a child that the process which started it is gone, however it ended."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time

POLL_SECONDS = 0.25
PARENT = os.getppid()
PR_SET_PDEATHSIG = 1


def is_linux() -> bool:
    """Whether `poll` tells of a closed end by itself."""
    return sys.platform == "linux"


def signal_at_parents_end(number: int, *, parent: int) -> None:
    """Have the kernel send this process a signal when its parent ends, however; Linux only.

    It is sent now where the parent is gone already. What is forked from here does not get it.
    """
    if not is_linux():
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def wait_for_other_end(fd: int) -> None:
    """Return when the other end of a socket pair or pipe is closed, which its holder's death does.

    Elsewhere than on Linux `poll` need not tell that without asking for data as well: there a new
    parent process says the same.
    """
    if is_linux():
        poller = select.poll()
        poller.register(fd, 0)
        poller.poll()
        return
    while os.getppid() == PARENT:
        time.sleep(POLL_SECONDS)
