"""Pages whose answers were not for all: for a while each caller runs the route for himself."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cachebox import LRUCache
from starlette.types import Message, Send

from servekit.response_cache.exchange import Exchange, Run
from servekit.response_cache.rfc9111 import is_private, may_store

PASS_SECONDS = 60
"""Time for which nobody waits for the answer of another, who might not get one to share."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Until when a page passes; one that is too long looks storable until it has ended."""

    until: float
    too_long: bool


class Passing:
    """The marks of this worker ("hit for miss"): of a hot page that is not kept, none queue up."""

    def __init__(self) -> None:
        self._marks: LRUCache[str, Mark] = LRUCache(10_000)

    def add(self, key: str, *, too_long: bool) -> None:
        """Let a page pass for a while."""
        self._marks[key] = Mark(time.monotonic() + PASS_SECONDS, too_long)

    def has(self, key: str) -> bool:
        """Return whether each caller is to run the route for himself."""
        mark = self._marks.get(key)
        return mark is not None and mark.until > time.monotonic()

    def watch(self, exchange: Exchange, seen: Run, send: Send) -> Send:
        """Return a send that ends the mark of a page whose answer could be kept after all."""

        async def send_watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                mark, headers = self._marks.get(exchange.key), message.get("headers", ())
                kept = may_store(message["status"], headers) and not is_private(headers)
                if kept and mark is not None and not mark.too_long and not seen.is_personal():
                    self._marks.pop(exchange.key, None)
            await send(message)

        return send_watched
