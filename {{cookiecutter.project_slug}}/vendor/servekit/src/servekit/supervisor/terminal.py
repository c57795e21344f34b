"""Whether the terminal at which the service was started is being closed."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time

LOOK_SECONDS = 1.0
CLOSING_SECONDS = 5.0


class Terminal:
    """SIGHUP asks for a reload, and is what a terminal sends when it is closed.

    It is the latter while a terminal was open seconds ago. A service that went on when its own was
    closed, without a signal, as those that a shell disowned, is asked for a reload later; and one
    that was started with the signal ignored, as by `nohup`, is to outlive its terminal.
    """

    def __init__(self) -> None:
        self._is_left = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._open_at = -math.inf if self._is_left or not is_open() else time.monotonic()

    async def watch(self) -> None:
        """Look each second while it is open."""
        while is_open() and not self._is_left:
            self._open_at = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def is_closing(self) -> bool:
        return not is_open() and time.monotonic() - self._open_at < CLOSING_SECONDS


def is_open() -> bool:
    """Return whether a standard stream is a terminal that is there."""
    return any(os.isatty(descriptor) for descriptor in range(3))
