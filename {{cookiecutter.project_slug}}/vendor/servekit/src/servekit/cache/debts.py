"""Removals that Redis could not be told of; they are made up for before the cache is trusted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from servekit.deadlines import without_deadline
from servekit.errors import StoreUnavailable

log = structlog.get_logger()

LIMIT = 10_000
PAUSE_SECONDS = 0.25


class Debts:
    """A bounded list of what is still to be removed, as pairs of kind and name.

    `pay_one` removes one; debts are paid in the background as soon as Redis answers.
    """

    def __init__(self, pay_one: Callable[[str, str], Awaitable[None]]) -> None:
        self._pay_one = pay_one
        self._owed: dict[tuple[str, str], object] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._owed)

    def add(self, kind: str, name: str) -> None:
        """Remember a removal; the oldest is given up when there are too many."""
        self._owed[kind, name] = object()
        if len(self._owed) > LIMIT:
            lost = next(iter(self._owed))
            del self._owed[lost]
            log.error("cache_invalidation_lost", kind=lost[0], key=lost[1])
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._pay_in_time(), context=without_deadline())

    async def pay(self) -> None:
        """Make every removal; raises StoreUnavailable with the rest still owed."""
        if self._owed:
            log.info("cache_invalidations_made_up_for", number=len(self._owed))
        while self._owed:
            (kind, name), debt = next(iter(self._owed.items()))
            await self._pay_one(kind, name)
            if self._owed.get((kind, name)) is debt:  # Else it was made again meanwhile.
                del self._owed[kind, name]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _pay_in_time(self) -> None:
        while self._owed:
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
            try:
                await self.pay()
            except StoreUnavailable:
                continue
