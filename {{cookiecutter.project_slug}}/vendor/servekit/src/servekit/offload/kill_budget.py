"""How often a process may be killed because nobody waits for its work any more."""

from __future__ import annotations

import time
from collections.abc import Callable


class KillBudget:
    """Tokens: `burst` at once, then `per_second`. Each kill costs the start of a process."""

    def __init__(
        self,
        *,
        burst: float = 5,
        per_second: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = self._left = burst
        self._per_second = per_second
        self._clock = clock
        self._refilled_at = clock()

    def take(self) -> bool:
        """Return whether a process may be killed now, and count it."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._refilled_at) * self._per_second)
        self._refilled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
