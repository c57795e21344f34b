"""What a lookup does: serve, refresh in the background, load once for all, or do without Redis."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from cachebox import LRUCache

from servekit.cache.coherence import Coherence
from servekit.cache.entries import (
    NO_EPOCH,
    CachePolicy,
    CacheResult,
    LocalEntry,
    NotEncodable,
    State,
    TagVersions,
    Tier,
)
from servekit.cache.single_flight import Leases, wait_for_notification
from servekit.cache.tiers import TierReader, TierWriter
from servekit.errors import StoreUnavailable

log = structlog.get_logger()

PAUSE_SECONDS = 1.0
"""Least time between two refreshes of a key that failed, or that Redis could not coordinate."""

PAUSE_SECONDS_LEASED = 0.25
"""Time before a refresh is tried again while another process is at it."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is looked up: the key, its policy and tags, and how to load the value."""

    key: str
    policy: CachePolicy
    tags: Sequence[str]
    load: Callable[[], Awaitable[Any]]


class ReadThrough:
    """Answers lookups from the tiers, and loads what they do not have, once for all who ask.

    A lookup raises only what its load raises, and that only if nothing usable is left.
    """

    def __init__(
        self,
        reader: TierReader,
        writer: TierWriter,
        coherence: Coherence,
        leases: Leases,
    ) -> None:
        self._reader = reader
        self._local = reader.local
        self._writer = writer
        self._coherence = coherence
        self._leases = leases
        self._flights = coherence.flights
        self._paused_until: LRUCache[str, float] = LRUCache(10_000)

    async def get(self, key: str, policy: CachePolicy) -> CacheResult[Any] | None:
        """Return what the tiers have, without loading; stale values say so."""
        entry = self._local.get_current(key, policy.codec)
        if entry is not None:
            return _result(entry, "local")
        policy.stats.misses_local += 1
        try:
            entry = await self._reader.fetch(key, policy, ())
        except StoreUnavailable:
            usable = self._local.get_usable(key, policy.codec)
            return None if usable is None else _result(usable, "local", stale=True)
        if entry is None:
            policy.stats.misses_redis += 1
            return None
        return _result(entry, "redis")

    async def get_or_load(self, lookup: Lookup) -> CacheResult[Any]:
        """Return the value: fresh, stale while it is loaded anew, or loaded now."""
        key, policy = lookup.key, lookup.policy
        entry = self._local.get_current(key, policy.codec)
        if entry is not None:
            return self._serve(entry, lookup, "local")
        policy.stats.misses_local += 1
        # What may be served stale waits for no probe of Redis: its refresh is one.
        answering = self._reader.redis.answering
        usable = None if answering else self._local.get_usable(key, policy.codec)
        if usable is not None:
            return self._serve_without_redis(usable, lookup)
        try:
            entry = await self._reader.fetch(key, policy, lookup.tags)
        except StoreUnavailable:
            usable = self._local.get_usable(key, policy.codec)
            if usable is not None:
                return self._serve_without_redis(usable, lookup)
            loaded = await self._flights.join(key, lambda: self._load(lookup, None))
            return CacheResult(loaded.value, "miss")
        if entry is not None:
            return self._serve(entry, lookup, "redis")
        policy.stats.misses_redis += 1
        while True:
            loaded = await self._flights.join(key, lambda: self._load_once(lookup))
            if loaded is not None:
                return CacheResult(loaded.value, "miss")
            # A refresh was under way that left the load to another process.

    def _serve(self, entry: LocalEntry, lookup: Lookup, tier: Tier) -> CacheResult[Any]:
        if time.monotonic() >= entry.refresh_at:
            self._refresh_in_background(lookup)
        return _result(entry, tier)

    def _serve_without_redis(self, entry: LocalEntry, lookup: Lookup) -> CacheResult[Any]:
        self._refresh_in_background(lookup)
        return _result(entry, "local", stale=True)

    def _refresh_in_background(self, lookup: Lookup) -> None:
        key = lookup.key
        if self._flights.running(key) or time.monotonic() < self._paused_until.get(key, 0.0):
            return
        self._flights.begin(key, lambda: self._refresh(lookup))

    def _pause(self, key: str, seconds: float) -> None:
        jitter = random.uniform(1, 1.5)  # noqa: S311 - no secret
        self._paused_until[key] = time.monotonic() + seconds * jitter

    async def _refresh(self, lookup: Lookup) -> LocalEntry | None:
        """Load anew what is still served, unless another process does or did."""
        key, token = lookup.key, None
        try:
            token = await self._leases.take(key)
            if token is None:
                self._pause(key, PAUSE_SECONDS_LEASED)
                return None
            entry = await self._reader.fetch(key, lookup.policy, lookup.tags, shared=False)
            if entry is not None and time.monotonic() < entry.refresh_at:
                self._leases.release(key, token)
                return entry
        except StoreUnavailable:
            self._pause(key, PAUSE_SECONDS)
        try:
            return await self._load(lookup, token)
        except Exception as error:
            self._pause(key, PAUSE_SECONDS)
            log.warning("cache_refresh_failed", cache=lookup.policy.name, error=repr(error))
            raise

    async def _load_once(self, lookup: Lookup) -> LocalEntry:
        """Load under the lease, or wait for the process that has it."""
        key, deadline = lookup.key, time.monotonic() + self._leases.seconds
        token = None
        with self._coherence.waiters.waiting(key) as event:
            while True:
                try:
                    token = await self._leases.take(key)
                    # A read from before the lease may have missed what was stored since.
                    entry = await self._reader.fetch(key, lookup.policy, lookup.tags, shared=False)
                except StoreUnavailable:
                    break
                if entry is not None and (token is None or time.monotonic() < entry.fresh_until):
                    self._leases.release(key, token)
                    return entry
                if token is not None or time.monotonic() >= deadline:
                    break
                await wait_for_notification(event, channel_up=self._coherence.channel_up)
        return await self._load(lookup, token)

    async def _load(self, lookup: Lookup, token: bytes | None) -> LocalEntry:
        """Load and store; without a lease, only here and only for want of better."""
        key, policy = lookup.key, lookup.policy
        fence = self._local.begin_read(key)
        stored = False
        try:
            tags: TagVersions | None = None
            if token is not None:
                with contextlib.suppress(StoreUnavailable):
                    tags = await self._reader.tag_versions(lookup.tags)
            started = time.perf_counter()
            with self._leases.renewed(key, token):
                value = await lookup.load()
            entry = policy.entry(value, tags or (), time.perf_counter() - started)
            # What is stored without the versions of its tags would outlive them.
            lease = None if tags is None else token
            stored = await self._writer.write_leased(key, policy, entry, lease)
            local = policy.localize(entry, value)
        except NotEncodable as error:
            log.error("cache_value_not_encodable", cache=policy.name, error=str(error))  # noqa: TRY400 - says all
            return policy.uncached(value)
        else:
            if not stored:
                fence.epoch = NO_EPOCH  # Redis does not have it: nobody would say when it ends.
            self._local.fill(fence, local)
            return local
        finally:
            self._local.end_read(fence)
            if not stored:
                self._leases.release(key, token)


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
