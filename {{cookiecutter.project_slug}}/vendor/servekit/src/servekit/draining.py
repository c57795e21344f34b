"""Whether this worker takes new work: two flags that everybody may read."""

from __future__ import annotations


class Draining:
    """The worker's way to the end, as plain flags.

    `ready` is true once start-up and warm-up are done; `active` once draining began, for good.
    """

    def __init__(self) -> None:
        self.ready = False
        self.active = False

    def set_ready(self) -> None:
        """Say that start-up and warm-up are done."""
        self.ready = True

    def begin(self) -> None:
        """Announce the end: readiness turns to 503 and answers ask clients to reconnect."""
        self.active = True
