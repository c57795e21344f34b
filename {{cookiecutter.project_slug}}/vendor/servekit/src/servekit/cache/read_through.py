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
from servekit.cache.encoding import NotEncodable
from servekit.cache.leases import Leases
from servekit.cache.local_tier import NEVER, LocalEntry
from servekit.cache.policy import CacheResult, Policy, State, Tier
from servekit.cache.tier_reader import Tags, TierReader
from servekit.cache.tier_writer import TierWriter
from servekit.cache.wakes import wait_for_word
from servekit.errors import StoreUnavailable

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
        reader: TierReader,
        writer: TierWriter,
        coherence: Coherence,
        leases: Leases,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._coherence = coherence
        self._leases = leases
        self._flights = coherence.flights
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
        # What may be served stale waits for no probe of Redis: its refresh is one.
        left = None if self._reader.redis.answering else self._reader.left(key, policy)
        if left is not None:
            return self._serve_left(left, request)
        try:
            entry = await self._reader.fetch(key, policy, request.tags)
        except StoreUnavailable:
            left = self._reader.left(key, policy)
            if left is not None:
                return self._serve_left(left, request)
            loaded = await self._flights.join(key, lambda: self._load(request, None))
            return CacheResult(loaded.value, "miss")
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

    def _serve_left(self, entry: LocalEntry, request: Request) -> CacheResult[Any]:
        self._refresh_soon(request)
        return _result(entry, "local", stale=True)

    def _refresh_soon(self, request: Request) -> None:
        key = request.key
        if self._flights.running(key) or time.monotonic() < self._pauses.get(key, 0.0):
            return
        self._flights.begin(key, lambda: self._refresh(request))

    def _pause(self, key: str, seconds: float) -> None:
        self._pauses[key] = time.monotonic() + seconds * random.uniform(1, 1.5)  # noqa: S311 - jitter

    async def _refresh(self, request: Request) -> LocalEntry | None:
        """Load anew what is still served, unless another process does or did."""
        key, token = request.key, None
        try:
            token = await self._leases.take(key)
            if token is None:
                self._pause(key, PAUSE_SECONDS_TAKEN)
                return None
            entry = await self._reader.fetch(key, request.policy, request.tags, anew=True)
            if entry is not None and time.monotonic() < entry.refresh_at:
                self._leases.give_back(key, token)
                return entry
        except StoreUnavailable:
            self._pause(key, PAUSE_SECONDS)
        try:
            return await self._load(request, token)
        except Exception as error:
            self._pause(key, PAUSE_SECONDS)
            log.warning("cache_refresh_failed", cache=request.policy.name, error=repr(error))
            raise

    async def _load_once(self, request: Request) -> LocalEntry:
        """Load under the lease, or wait for the process that has it."""
        key, deadline = request.key, time.monotonic() + self._leases.seconds
        token = None
        with self._coherence.wakes.watch(key) as event:
            while True:
                try:
                    token = await self._leases.take(key)
                    # Anew: a read from before the lease may have missed what was stored since.
                    entry = await self._reader.fetch(key, request.policy, request.tags, anew=True)
                except StoreUnavailable:
                    break
                if entry is not None and (token is None or time.monotonic() < entry.fresh_until):
                    self._leases.give_back(key, token)
                    return entry
                if token is not None or time.monotonic() >= deadline:
                    break
                await wait_for_word(event, told=self._coherence.told)
        return await self._load(request, token)

    async def _load(self, request: Request, token: bytes | None) -> LocalEntry:
        """Load and keep; without a lease, only here and only for want of better."""
        key, policy = request.key, request.policy
        mark = self._reader.local.begin(key)
        kept = False
        try:
            tags: Tags | None = None
            if token is not None:
                with contextlib.suppress(StoreUnavailable):
                    tags = await self._reader.tag_versions(request.tags)
            started = time.perf_counter()
            with self._leases.renewed(key, token):
                value = await request.load()
            entry = policy.entry(value, tags or (), time.perf_counter() - started)
            # What is stored without the versions of its tags would outlive them.
            kept = await self._writer.keep(mark, policy, entry, None if tags is None else token)
            local = policy.localize(entry, value)
        except NotEncodable as error:
            log.error("cache_value_not_encodable", cache=policy.name, error=str(error))  # noqa: TRY400 - says all
            return policy.uncached(value)
        else:
            if not kept:
                mark.epoch = NEVER  # Redis does not have it: nobody would tell of its end.
            self._reader.local.fill(mark, local)
            return local
        finally:
            self._reader.local.end(mark)
            if not kept:
                self._leases.give_back(key, token)


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
