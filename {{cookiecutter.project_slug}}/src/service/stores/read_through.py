"""What a lookup does: serve, refresh in the background, load once for all, or do without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from cachebox import LRUCache

from service.stores.cache_policy import CacheResult, Policy, State, Tier
from service.stores.coherence import Coherence
from service.stores.encoding import NotEncodable
from service.stores.errors import StoreUnavailable
from service.stores.local_tier import LocalEntry
from service.stores.redis_tier import RedisTier
from service.stores.tier_reader import Tags, TierReader
from service.stores.tier_writer import TierWriter
from service.stores.wakes import wait_for_word

log = structlog.get_logger()

PAUSE_SECONDS = 1.0
"""Least time between two refreshes of a key that failed, or that Redis could not coordinate."""

PAUSE_SECONDS_TAKEN = 0.25
"""Time before a refresh is tried again while another process is at it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A lookup: the key, its policy and tags, and how to load the value."""

    key: str
    policy: Policy
    tags: Sequence[str]
    load: Callable[[], Awaitable[Any]]


class ReadThrough:
    """Answers lookups from the tiers, and loads what they do not have, once for all who ask.

    A lookup raises only what its load raises, and that only if nothing usable is left.
    """

    def __init__(
        self,
        redis: RedisTier,
        reader: TierReader,
        writer: TierWriter,
        coherence: Coherence,
        *,
        lease_seconds: float,
    ) -> None:
        self._redis = redis
        self._reader = reader
        self._writer = writer
        self._coherence = coherence
        self._flights = coherence.flights
        self._lease_seconds = lease_seconds
        self._pauses: LRUCache[str, float] = LRUCache(10_000)

    async def find(self, key: str, policy: Policy) -> CacheResult[Any] | None:
        """Return what the tiers have, without loading; stale values say so."""
        entry = self._reader.near(key, policy)
        if entry is not None:
            return _result(entry, "local")
        policy.stats.misses_local += 1
        try:
            entry = await self._reader.fetch(key, policy, ())
        except StoreUnavailable:
            left = self._reader.left(key, policy)
            return None if left is None else _result(left, "local", stale=True)
        if entry is None:
            policy.stats.misses_redis += 1
            return None
        return _result(entry, "redis")

    async def lookup(self, request: Request) -> CacheResult[Any]:
        """Return the value: fresh, stale while it is loaded anew, or loaded now."""
        key, policy = request.key, request.policy
        entry = self._reader.near(key, policy)
        if entry is not None:
            return self._serve(entry, request, "local")
        policy.stats.misses_local += 1
        try:
            entry = await self._reader.fetch(key, policy, request.tags)
        except StoreUnavailable:
            left = self._reader.left(key, policy)
            if left is not None:
                self._refresh_soon(request)
                return _result(left, "local", stale=True)
        if entry is not None:
            return self._serve(entry, request, "redis")
        policy.stats.misses_redis += 1
        while True:
            loaded = await self._flights.join(key, lambda: self._load_once(request))
            if loaded is not None:
                return CacheResult(loaded.value, "miss")
            # A refresh was under way that left the load to another process.

    def _serve(self, entry: LocalEntry, request: Request, tier: Tier) -> CacheResult[Any]:
        if time.monotonic() >= entry.refresh_at:
            self._refresh_soon(request)
        return _result(entry, tier)

    def _refresh_soon(self, request: Request) -> None:
        key = request.key
        if self._flights.running(key) or time.monotonic() < self._pauses.get(key, 0.0):
            return
        self._flights.begin(key, lambda: self._refresh(request))

    def _pause(self, key: str, seconds: float) -> None:
        self._pauses[key] = time.monotonic() + seconds * random.uniform(1, 1.5)  # noqa: S311 - jitter

    async def _refresh(self, request: Request) -> LocalEntry | None:
        """Load anew what is still served, unless another process does or did."""
        token = None
        try:
            token = await self._redis.lease(request.key)
            if token is None:
                self._pause(request.key, PAUSE_SECONDS_TAKEN)
                return None
            entry = await self._reader.fetch(request.key, request.policy, request.tags)
            if entry is not None and time.monotonic() < entry.refresh_at:
                await self._redis.release(request.key, token)
                return entry
        except StoreUnavailable:
            self._pause(request.key, PAUSE_SECONDS)
        try:
            return await self._load(request, token)
        except Exception as error:
            self._pause(request.key, PAUSE_SECONDS)
            log.warning("cache_refresh_failed", cache=request.policy.name, error=repr(error))
            raise

    async def _load_once(self, request: Request) -> LocalEntry:
        """Load under the lease, or wait for the process that has it; without Redis, just load."""
        key, deadline = request.key, time.monotonic() + self._lease_seconds
        token = None
        with self._coherence.wakes.watch(key) as event:
            while True:
                try:
                    token = await self._redis.lease(key)
                    entry = await self._reader.fetch(key, request.policy, request.tags)
                except StoreUnavailable:
                    break
                if entry is not None and (token is None or time.monotonic() < entry.fresh_until):
                    if token is not None:
                        await self._give_back(key, token)
                    return entry
                if token is not None or time.monotonic() >= deadline:
                    break
                await wait_for_word(event, told=self._coherence.told)
        return await self._load(request, token)

    async def _load(self, request: Request, token: bytes | None) -> LocalEntry:
        key, policy = request.key, request.policy
        mark = self._reader.local.begin(key)
        tags: Tags = ()
        try:
            with contextlib.suppress(StoreUnavailable):
                tags = await self._reader.tag_versions(request.tags)
            if len(tags) < len(set(request.tags)):
                # Without their versions nothing would ever end what is stored.
                token = None
            started = time.perf_counter()
            with self._renewed(key, token):
                value = await request.load()
            entry = policy.entry(value, tags, time.perf_counter() - started)
            return await self._writer.keep(mark, policy, entry, value, token)
        except NotEncodable as error:
            log.error("cache_value_not_encodable", cache=policy.name, error=str(error))  # noqa: TRY400 - says all
            await self._give_back(key, token)
            return policy.uncached(value)
        except BaseException:
            await self._give_back(key, token)
            raise
        finally:
            self._reader.local.end(mark)

    async def _give_back(self, key: str, token: bytes | None) -> None:
        with contextlib.suppress(StoreUnavailable):
            if token is not None:
                await self._redis.release(key, token)

    @contextlib.contextmanager
    def _renewed(self, key: str, token: bytes | None) -> Iterator[None]:
        """Keep the lease while a load takes longer than it; the lease of a dead owner just ends."""
        if token is None:
            yield
            return
        loop = asyncio.get_running_loop()
        running: list[asyncio.Task[None]] = []

        async def renew() -> None:
            with contextlib.suppress(StoreUnavailable):
                while await self._redis.renew(key, token):  # noqa: ASYNC110 - it polls nothing
                    await asyncio.sleep(self._lease_seconds / 3)

        # Most loads are over before: they pay for a timer, not for a task.
        timer = loop.call_later(
            self._lease_seconds / 3, lambda: running.append(loop.create_task(renew()))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in running:
                task.cancel()


def _result(entry: LocalEntry, tier: Tier, *, stale: bool = False) -> CacheResult[Any]:
    now = time.monotonic()
    state: State = "stale" if stale or now >= entry.fresh_until else "hit"
    stats = entry.stats
    if tier == "local":
        stats.hits_local += state == "hit"
        stats.stale_hits_local += state == "stale"
    else:
        stats.hits_redis += state == "hit"
        stats.stale_hits_redis += state == "stale"
    return CacheResult(entry.value, state, max(0.0, now - entry.created_at), tier)
