"""How long to wait before trying again what just failed."""

from __future__ import annotations

import random

FACTOR = 1.5


class Backoff:
    """Delays that grow from one failure to the next, with jitter, and start over after a success.

    With `first_now` the first failure after a long life is retried at once: a crash is usually not
    a crash loop.
    """

    def __init__(
        self,
        *,
        first_seconds: float = 0.5,
        limit_seconds: float = 15,
        reset_seconds: float = 30,
        jitter: float = 0.1,
        first_now: bool = True,
    ) -> None:
        self._first = first_seconds
        self._limit = limit_seconds
        self._reset = reset_seconds
        self._jitter = jitter
        self._start = 0.0 if first_now else first_seconds
        self._next = self._start

    def delay(self, lived_seconds: float) -> float:
        """Return the seconds to wait after something failed that had lived this long."""
        if lived_seconds >= self._reset:
            self._next = self._start
        delay = self._next
        self._next = min(max(delay * FACTOR, self._first), self._limit)
        return delay * random.uniform(1 - self._jitter, 1)  # noqa: S311 - spreads retries, no secret
