"""Keeps the local tier as Redis is: follows the invalidations, and bypasses it without them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from servekit.cache.debts import Debts
from servekit.cache.keys import ENTRY, TAG, KeySpace
from servekit.cache.local_tier import LocalTier
from servekit.cache.redis_tier import RedisTier
from servekit.cache.single_flight import SingleFlight
from servekit.cache.wakes import Wakes
from servekit.redis.clients import RedisClients
from servekit.redis.invalidation import InvalidationChannel

TAG_SECONDS = 30 * 86_400
"""Life of a tag's version; an entry that outlives its tag is a miss."""


class Coherence:
    """The local tier and all that must hear of a write: marks, runs under way, waiters."""

    def __init__(
        self, clients: RedisClients, redis: RedisTier, keys: KeySpace, *, local_bytes: int
    ) -> None:
        self.local = LocalTier(local_bytes)
        self.flights: SingleFlight[Any] = SingleFlight()
        self.wakes = Wakes()
        self.debts = Debts(self._pay)
        self._clients = clients
        self._redis = redis
        self._keys = keys
        self._channel = InvalidationChannel(
            clients.invalidation_connections,
            prefix=keys.prefix,
            on_keys=self._told,
            on_up=self._trust,
            on_down=self._distrust,
            on_silent=clients.suspect,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def told(self) -> bool:
        """Whether other processes' writes are told."""
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
        await self.debts.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def written(self, key: str) -> None:
        """Forget the key everywhere in this process: what is known or being read is out of date."""
        self.local.invalidate(key)
        self.flights.forget(key)
        self.wakes.wake(key)

    def tag_written(self, tag: str) -> None:
        self.local.invalidate_tag(tag)
        self.flights.forget_all()

    def _told(self, raws: list[bytes] | None) -> None:
        if raws is None:
            self.local.clear()
            self.flights.forget_all()
            self.wakes.wake_all()
            return
        for raw in raws:
            kind, name = self._keys.split(raw)
            if kind == ENTRY:
                self.written(name)
            elif kind == TAG:
                self.tag_written(name)
            else:
                self.wakes.wake(name)

    async def _trust(self) -> None:
        await self._clients.recovered()
        await self.debts.pay()
        self.local.trust()

    def _distrust(self) -> None:
        self.local.distrust()
        self.wakes.wake_all()

    async def _pay(self, kind: str, name: str) -> None:
        if kind == ENTRY:
            await self._redis.remove([name])
        elif kind == TAG:
            await self._redis.new_tag_version(name, ttl_seconds=TAG_SECONDS)
        else:
            async for keys in self._redis.scan(name):
                await self._redis.remove(keys)
