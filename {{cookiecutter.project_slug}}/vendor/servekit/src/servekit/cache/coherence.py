"""Keeps the local tier as Redis is: follows invalidations, and sends those that Redis missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, Self

from servekit.cache.keys.space import ENTRY, PATTERN, TAG, KeySpace
from servekit.cache.local_tier import LocalTier
from servekit.cache.redis_tier import RedisTier
from servekit.cache.single_flight import SingleFlight, Waiters
from servekit.errors import StoreUnavailable
from servekit.event_log import get_logger
from servekit.redis.clients import RedisClients
from servekit.redis.invalidation import InvalidationChannel
from servekit.resilience.deadlines import without_deadline

log = get_logger()

CHUNK = 1000
"""Keys that are looked at before the event loop gets a turn."""

OUTBOX_LIMIT = 10_000
OUTBOX_PAUSE_SECONDS = 0.25


class Coherence:
    """The local tier and all that a write makes out of date: reads, runs under way, waiters."""

    def __init__(
        self, clients: RedisClients, redis: RedisTier, keys: KeySpace, *, local_bytes: int
    ) -> None:
        self.local = LocalTier(local_bytes, seconds_max=clients.copy_seconds_max)
        self.flights: SingleFlight[Any] = SingleFlight()
        self.waiters = Waiters()
        self.outbox = InvalidationOutbox(self._deliver)
        self._clients = clients
        self._redis = redis
        self._keys = keys
        self._channel = InvalidationChannel(
            clients.invalidation_connections,
            prefix=keys.prefix,
            on_keys=self._on_invalidations,
            on_up=self._trust,
            on_down=self._distrust,
            on_silent=clients.suspect,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def channel_up(self) -> bool:
        """Whether other processes' writes are heard of."""
        return self._channel.up

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._channel.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.flights.close()
        await self.outbox.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def invalidate(self, key: str) -> None:
        """Forget the key everywhere in this process: what is known or being read is out of date."""
        self.local.invalidate(key)
        self.flights.forget(key)
        self.waiters.notify(key)

    async def invalidate_matching(self, pattern: str) -> None:
        """Forget the keys that match a glob pattern, with a turn for others now and then."""
        known = {*self.local.entry_keys(), *self.local.reads_under_way(), *self.flights.keys()}
        for number, key in enumerate(known):
            if fnmatchcase(key, pattern):
                self.invalidate(key)
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)

    def invalidate_tag(self, tag: str) -> None:
        self.local.invalidate_tag(tag)
        for key in self.flights.tagged(tag):
            self.local.invalidate(key)
            self.flights.forget(key)

    def _on_invalidations(self, raws: list[bytes] | None) -> None:
        if raws is None:
            self.local.clear()
            self.flights.forget_all()
            self.waiters.notify_all()
            return
        for raw in raws:
            kind, name = self._keys.split(raw)
            if kind == ENTRY:
                self.invalidate(name)
            elif kind == TAG:
                self.invalidate_tag(name)
            else:
                self.waiters.notify(name)

    async def _trust(self) -> None:
        await self._clients.recovered()
        await self.outbox.flush()
        self.local.trust()

    def _distrust(self) -> None:
        self.local.distrust()
        self.waiters.notify_all()

    async def _deliver(self, kind: str, name: str) -> None:
        if kind == ENTRY:
            await self._redis.remove([name])
        elif kind == TAG:
            await self._redis.new_tag_version(name)
        else:
            async for _ in self._redis.remove_matching(name):
                pass


class InvalidationOutbox:
    """Removals that Redis missed, as pairs of kind and name: at most OUTBOX_LIMIT.

    `deliver` makes one; all are made in the background as soon as Redis answers, and before the
    local tier is trusted again.
    """

    def __init__(self, deliver: Callable[[str, str], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._pending: dict[tuple[str, str], object] = {}
        self._patterns: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, kind: str, name: str, error: Exception) -> None:
        """Remember a removal that failed; the oldest is given up when there are too many."""
        if not self._pending:
            log.warning("cache_invalidation_deferred", kind=kind, key=name, error=str(error))
        self._pending[kind, name] = object()
        if kind == PATTERN:
            self._patterns.add(name)
        if len(self._pending) > OUTBOX_LIMIT:
            oldest = next(iter(self._pending))
            self.drop(*oldest)
            log.error("cache_invalidation_lost", kind=oldest[0], key=oldest[1])
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._flush_later(), context=without_deadline())

    def holds(self, key: str, tags: Sequence[str]) -> bool:
        """Return whether an entry of this key and these tags is to be removed yet."""
        if not self._pending:
            return False
        if (ENTRY, key) in self._pending or any((TAG, tag) in self._pending for tag in tags):
            return True
        return any(fnmatchcase(key, pattern) for pattern in self._patterns)

    def pending(self, kind: str, name: str) -> object | None:
        """Return the removal that is pending, each time another; None if there is none."""
        return self._pending.get((kind, name))

    def drop(self, kind: str, name: str) -> None:
        """Give up a removal, if it is pending: it was made, or a newer value is there."""
        if self._pending.pop((kind, name), None) is not None and kind == PATTERN:
            self._patterns.discard(name)

    def settle(self, kind: str, name: str, removal: object | None) -> None:
        """Give up a removal that was pending before, unless it was added again meanwhile."""
        if self.pending(kind, name) is removal:
            self.drop(kind, name)

    async def flush(self) -> None:
        """Make every removal; raises StoreUnavailable with the rest still pending."""
        if self._pending:
            log.info("cache_invalidations_delivered_late", number=len(self._pending))
        while self._pending:
            (kind, name), removal = next(iter(self._pending.items()))
            await self._deliver(kind, name)
            self.settle(kind, name, removal)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _flush_later(self) -> None:
        while self._pending:
            await asyncio.sleep(OUTBOX_PAUSE_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
            try:
                await self.flush()
            except StoreUnavailable:
                continue
