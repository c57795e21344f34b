"""What a lookup does: serve, refresh in the background, load once for all, or do without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import Any

from cachebox import LRUCache

from servekit.cache.codecs import NotEncodable
from servekit.cache.coherence import Coherence
from servekit.cache.entries import (
    NO_EPOCH,
    CachePolicy,
    CacheResult,
    LocalEntry,
    State,
    TagVersions,
    Tier,
)
from servekit.cache.keys.space import ENTRY
from servekit.cache.single_flight import Leases, Loads, Work, wait_for_notification
from servekit.cache.tier_writer import TierWriter
from servekit.cache.tiers import TierReader
from servekit.errors import StoreUnavailable
from servekit.event_log import get_logger

log = get_logger()

PAUSE_SECONDS = 1.0
"""Least time between two refreshes of a key that failed, or that Redis could not coordinate."""

PAUSE_SECONDS_LEASED = 0.25
"""Time before a refresh is tried again while another process is at it."""


PAUSES_BYTES = 2**20
"""Room for the keys whose refresh was put off."""

PAUSE_BYTES = 150
"""About what such a key costs beside its text."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is looked up: the key, its policy and tags, and how to load the value."""

    key: str
    policy: CachePolicy
    tags: Sequence[str]
    load: Callable[[], Awaitable[Any]]
    fresh_only: bool = False
    """Whether an entry that may be served stale is none."""


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
        self._loads = Loads()
        self._paused_until: LRUCache[str, float] = LRUCache(
            PAUSES_BYTES, getsizeof=lambda key, _: PAUSE_BYTES + getsizeof(key)
        )

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
            loaded = await self._joined(lookup, lambda: self._load(lookup, None))
            return CacheResult(loaded.value, "miss")
        if entry is not None:
            return self._serve(entry, lookup, "redis")
        policy.stats.misses_redis += 1
        return CacheResult((await self._load_shared(lookup)).value, "miss")

    async def reload(self, lookup: Lookup) -> Any:
        """Load now, whatever is cached or being loaded, and return the value."""
        self._coherence.invalidate(lookup.key)
        return (await self._join(lookup, lambda: self._load_seized(lookup))).value

    async def load_fresh(self, lookup: Lookup) -> Any:
        """Return what is loaded in the place of an entry, by this call or one that it joins."""
        return (await self._load_shared(replace(lookup, fresh_only=True))).value

    async def close(self) -> None:
        await self._loads.close()

    async def _load_shared(self, lookup: Lookup) -> LocalEntry:
        """Return what a run loads that nothing made out of date since this call began."""
        key, codec, later = lookup.key, lookup.policy.codec, False
        while True:
            own = not self._flights.running(key, codec)
            loaded = await self._joined(lookup, lambda: self._load_once(lookup))
            if own or later or not loaded.superseded:
                return loaded
            later = True

    async def _joined(self, lookup: Lookup, work: Work[LocalEntry]) -> LocalEntry:
        """Return what a run of the key loads; a refresh may leave that to another process."""
        while True:
            loaded: LocalEntry | None = await self._join(lookup, work)
            if loaded is not None:
                return loaded
            await asyncio.sleep(0)  # it is over, and only now out of the way

    def _join(self, lookup: Lookup, work: Work[Any]) -> Awaitable[Any]:
        return self._flights.join(lookup.key, lookup.policy.codec, work, lookup.tags)

    def _serve(self, entry: LocalEntry, lookup: Lookup, tier: Tier) -> CacheResult[Any]:
        if time.monotonic() >= entry.refresh_at:
            self._refresh_in_background(lookup)
        return _result(entry, tier)

    def _serve_without_redis(self, entry: LocalEntry, lookup: Lookup) -> CacheResult[Any]:
        self._refresh_in_background(lookup)
        return _result(entry, "local", stale=True)

    def _refresh_in_background(self, lookup: Lookup) -> None:
        key = lookup.key
        codec = lookup.policy.codec
        paused = time.monotonic() < self._paused_until.get(key, 0.0)
        if not paused and not self._flights.running(key, codec):
            self._flights.begin(key, codec, lambda: self._refresh(lookup), lookup.tags)

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
        # A lease is renewed for as long as its load may take. One load is waited for: if it fails,
        # those who waited load at once, and not one after the other.
        seconds = lookup.policy.timeout_seconds or math.inf
        key, deadline = lookup.key, time.monotonic() + max(seconds, self._leases.seconds)
        token = waited_for = None
        with self._coherence.waiters.waiting(key) as event:
            while True:
                try:
                    token = await self._leases.take(key)
                    holder = None if token else await self._leases.holder(key)
                    # A read from before the lease may have missed what was stored since.
                    entry = await self._reader.fetch(key, lookup.policy, lookup.tags, shared=False)
                except StoreUnavailable:
                    break
                failed = waited_for is not None and holder != waited_for
                stale_will_do = failed if lookup.fresh_only else token is None
                if entry is not None and (stale_will_do or time.monotonic() < entry.fresh_until):
                    self._leases.release(key, token)
                    return entry
                other = failed and holder is not None
                if token is not None or other or time.monotonic() >= deadline:
                    break
                waited_for = waited_for or holder
                await wait_for_notification(event, channel_up=self._coherence.channel_up)
        return await self._load(lookup, token)

    async def _load_seized(self, lookup: Lookup) -> LocalEntry:
        """Load under a lease that is taken from whoever has it: what he read is older."""
        token = None
        try:
            token = await self._leases.seize(lookup.key)
        except StoreUnavailable as error:
            self._coherence.outbox.add(ENTRY, lookup.key, error)
        return await self._load(lookup, token)

    async def _load(self, lookup: Lookup, token: bytes | None) -> LocalEntry:
        """Load and store; without a lease, only here and only for want of better."""
        key, policy = lookup.key, lookup.policy
        fence, loading = self._local.begin_read(key), self._writer.begin_load(key)
        stored = False
        try:
            tags = await self._tags_to_store(lookup, token)
            started = time.perf_counter()
            with self._leases.renewed(key, token):
                value = await self._loads.run(
                    lookup.load, timeout_seconds=policy.timeout_seconds, name=policy.name
                )
            entry, value = policy.kept(value, tags or (), time.perf_counter() - started)
            local = policy.localize(entry, value)
            if tags is None:  # Their names are known all the same: who invalidates one means it.
                local.tags = tuple((tag, b"") for tag in lookup.tags)
            if token is not None and tags is not None:
                with contextlib.suppress(StoreUnavailable):
                    stored = await self._writer.write_leased(loading, policy, entry, token)
                    local.superseded = not stored
        except NotEncodable as error:
            log.error("cache_value_not_encodable", cache=policy.name, error=str(error))  # noqa: TRY400 - says all
            return policy.uncached(value)
        else:
            if not stored:
                fence.epoch = NO_EPOCH  # Redis does not have it: nobody would say when it ends.
            if not local.superseded:
                self._local.fill(fence, local)
            return local
        finally:
            self._local.end_read(fence)
            if not stored:
                self._leases.release(key, token)

    async def _tags_to_store(self, lookup: Lookup, token: bytes | None) -> TagVersions | None:
        """Return the versions of the tags; None: without them, a value would outlive its tags."""
        if token is None:
            return None
        try:
            return await self._reader.tag_versions(lookup.tags)
        except StoreUnavailable:
            return None


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
