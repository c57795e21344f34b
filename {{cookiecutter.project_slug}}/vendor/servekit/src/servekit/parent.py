"""Notices in a child that the process which started it is gone, however it ended."""

from __future__ import annotations

import os
import select
import sys
import time

POLL_SECONDS = 0.25
PARENT = os.getppid()


def is_linux() -> bool:
    """Whether `poll` tells of a closed end by itself."""
    return sys.platform == "linux"


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
