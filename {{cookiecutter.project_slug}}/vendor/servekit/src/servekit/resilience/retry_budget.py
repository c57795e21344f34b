"""How many calls may be made twice: few, so that retries never add to what is down already."""

from __future__ import annotations

import time

from prometheus_client import Counter


class RetryBudget:
    """Tokens for the retries of a process: one for ten calls, and at most 60 in any minute.

    `taken` counts them.
    """

    def __init__(
        self,
        *,
        ratio: float = 0.1,
        per_second: float = 55 / 60,
        burst: float = 5,
        taken: Counter | None = None,
    ) -> None:
        self._taken = taken
        self._ratio = ratio
        self._per_second = per_second
        self._burst = burst
        self._earned = 1.0
        self._allowed = burst
        self._refilled_at = time.monotonic()

    def earn(self) -> None:
        """Count a call."""
        self._earned = min(self._burst, self._earned + self._ratio)

    def take(self) -> bool:
        """Return whether a retry may be made, and count it."""
        now = time.monotonic()
        self._allowed = min(
            self._burst, self._allowed + (now - self._refilled_at) * self._per_second
        )
        self._refilled_at = now
        if self._earned < 1 or self._allowed < 1:
            return False
        self._earned -= 1
        self._allowed -= 1
        if self._taken is not None:
            self._taken.inc()
        return True
