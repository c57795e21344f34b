"""Says in the log, now and then, what is refused, why, and which setting decides it."""

from __future__ import annotations

import math
import time

from servekit.event_log import get_logger

SAMPLE_SECONDS = 10.0
"""At most one refusal of a cause is logged in so many: scanners send more than anybody reads."""

log = get_logger()


class RefusalLog:
    """The refusals of one layer; a record says how many of its cause had none before it."""

    def __init__(self) -> None:
        self._said_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def say(self, cause: str, *, event: str = "request_refused", **fields: object) -> None:
        """Log a refusal with `fields`, among them the name of the `setting` to change."""
        now = time.monotonic()
        if now - self._said_at.get(cause, -math.inf) < SAMPLE_SECONDS:
            self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
            return
        self._said_at[cause] = now
        others = self._unsaid.pop(cause, 0)
        log.warning(event, **fields, cause=cause, others=others)
