"""Waiting for a key to be written by another process, without asking Redis over and over."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator

POLL_SECONDS = 0.5
POLL_SECONDS_UNTOLD = 0.05


class Wakes:
    """Waiters by key; the invalidation channel wakes them."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def watch(self, key: str) -> Iterator[asyncio.Event]:
        """Give an event that is set at each word of the key."""
        event = asyncio.Event()
        self._events.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._events[key]
            events.discard(event)
            if not events:
                del self._events[key]

    def wake(self, key: str) -> None:
        for event in self._events.get(key, ()):
            event.set()

    def wake_all(self) -> None:
        for key in self._events:
            self.wake(key)


async def wait_for_word(event: asyncio.Event, *, told: bool) -> None:
    """Return at the next word, or after a while in case it was lost; `told`: the channel is up."""
    pause = (POLL_SECONDS if told else POLL_SECONDS_UNTOLD) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await event.wait()
    event.clear()
