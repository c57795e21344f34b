"""A breaker that stops calling what does not answer, and finds out when it does again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

CLOSED, HALF_OPEN, OPEN = 0, 1, 2


class Breaker:
    """Open after `failures` in a row, then let one probe through at a time.

    It stays open for `open_seconds`, twice as long after each failed probe, up to
    `open_seconds_max`, each with 50 % jitter, so that workers do not probe in step.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        open_seconds: float = 1,
        open_seconds_max: float = 15,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.state = CLOSED
        self._limit = failures
        self._failures = 0
        self._open_seconds = open_seconds
        self._open_seconds_max = open_seconds_max
        self._pause = open_seconds
        self._probe_at = 0.0
        self._clock = clock

    def opened(self) -> None:
        """Tell that it opened; for subclasses."""

    def closed(self) -> None:
        """Tell that it closed; for subclasses."""

    def allow(self) -> bool:
        """Return whether a call may be made; each True must be followed by its outcome."""
        if self.state == CLOSED:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        # A probe that never reports must not keep the breaker shut for ever.
        self.state, self._probe_at = HALF_OPEN, now + self._open_seconds
        return True

    def succeeded(self) -> None:
        if self.state != CLOSED:
            self.closed()
        self.state, self._failures, self._pause = CLOSED, 0, self._open_seconds

    def failed(self) -> None:
        self._failures += 1
        if self.state == HALF_OPEN:
            self._pause = min(self._pause * 2, self._open_seconds_max)
        elif self.state == OPEN or self._failures < self._limit:
            return
        else:
            self.opened()
        self.state = OPEN
        self._probe_at = self._clock() + self._pause * random.uniform(0.5, 1)  # noqa: S311 - jitter

    def abandoned(self) -> None:
        """Note a call that ended without a verdict: the next one may probe at once."""
        if self.state == HALF_OPEN:
            self._probe_at = self._clock()

    def suspect(self) -> None:
        """Let a single call through at first: something else saw the silence."""
        if self.state == CLOSED:
            self.opened()
            self.state, self._probe_at = OPEN, self._clock()

    def probe_soon(self) -> None:
        """Let the next call through: something else saw an answer."""
        if self.state == OPEN:
            self._probe_at = self._clock()
