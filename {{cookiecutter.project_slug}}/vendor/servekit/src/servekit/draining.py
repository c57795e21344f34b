"""Whether this worker takes new work: two flags that everybody may read, and a way to wait."""

from __future__ import annotations

import asyncio

from servekit.scope import current_service


class Draining:
    """The worker's way to the end.

    `ready` is true once start-up and warm-up are done; `active` once draining began, for good.
    """

    def __init__(self) -> None:
        self.ready = False
        self.active = False
        self._waiting: set[asyncio.Future[None]] = set()

    def set_ready(self) -> None:
        """Say that start-up and warm-up are done."""
        self.ready = True

    def begin(self) -> None:
        """Announce the end: readiness turns to 503 and answers ask clients to reconnect."""
        self.active = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def begins(self) -> None:
        """Wait until draining begins."""
        if self.active:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


async def drain_begins() -> None:
    """Wait until this worker begins to drain: an endless stream can then end by itself.

    For code of a request or of a part with a lifespan. A stream that goes on is cut after
    TIMEOUT_DRAIN_SECONDS, and the worker's end waits for it so long.
    """
    service = current_service.get()
    if service is None:
        raise LookupError("There is no service here: drain_begins() is for its requests and parts.")
    await service.draining.begins()
