"""Writes to both tiers: stored and told everywhere, or owed to Redis while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import structlog

from servekit.cache.coherence import TAG_SECONDS, Coherence
from servekit.cache.encoding import Entry, pack
from servekit.cache.keys import ENTRY, TAG
from servekit.cache.local_tier import NEVER
from servekit.cache.policy import Policy
from servekit.cache.redis_tier import RedisTier
from servekit.cache.tier_reader import Tags, TierReader
from servekit.deadlines import without_deadline
from servekit.errors import StoreUnavailable
from servekit.redis.marks import Mark

log = structlog.get_logger()

T = TypeVar("T")

CHUNK = 1000
"""Keys that are looked at before the event loop gets a turn."""


class TierWriter:
    """Writes and removals never raise for want of Redis: what it missed is made up for later.

    They run to the end even if their caller is cancelled: who hangs up leaves nothing old.
    """

    def __init__(self, redis: RedisTier, reader: TierReader, coherence: Coherence) -> None:
        self._redis = redis
        self._reader = reader
        self._coherence = coherence
        self._local = coherence.local
        self._running: set[asyncio.Task[Any]] = set()

    async def keep(self, mark: Mark, policy: Policy, entry: Entry, token: bytes | None) -> bool:
        """Store what was loaded under the lease; return False if it was removed meanwhile."""
        if token is None:
            return False
        data = pack(entry, policy.codec.fingerprint, compress_bytes=policy.compress_bytes)
        ttl_seconds = entry.usable_until - time.time()
        try:
            kept = await self._redis.set_leased(mark.name, data, token, ttl_seconds=ttl_seconds)
        except StoreUnavailable:
            return False
        policy.stats.writes_redis += kept
        return kept

    async def write(self, key: str, policy: Policy, value: Any, tags: Sequence[str]) -> None:
        """Store a value; when Redis is away, remove it there later and keep it here."""

        async def write() -> None:
            versions: Tags = ()
            try:
                versions = await self._reader.tag_versions(tags)
                entry = policy.entry(value, versions, 0)
                data = pack(entry, policy.codec.fingerprint, compress_bytes=policy.compress_bytes)
                ttl_seconds = entry.usable_until - time.time()
                await self._redis.set(key, data, ttl_seconds=ttl_seconds)
            except StoreUnavailable as error:
                self._owe(ENTRY, key, error)
                self._coherence.written(key)
                mark = Mark(key, NEVER)
                self._local.fill(mark, policy.localize(policy.entry(value, versions, 0), value))
            else:
                policy.stats.writes_redis += 1
                self._coherence.written(key)

        await self._finish(write())

    async def write_many(self, values: dict[str, Any], policy: Policy, tags: Sequence[str]) -> None:
        """Store values in one round trip."""

        async def write() -> None:
            try:
                versions = await self._reader.tag_versions(tags)
                entries = {key: policy.entry(value, versions, 0) for key, value in values.items()}
                now, print_ = time.time(), policy.codec.fingerprint
                await self._redis.set_many(
                    {
                        key: (
                            pack(entry, print_, compress_bytes=policy.compress_bytes),
                            entry.usable_until - now,
                        )
                        for key, entry in entries.items()
                    }
                )
            except StoreUnavailable as error:
                for key in values:
                    self._owe(ENTRY, key, error)
            else:
                policy.stats.writes_redis += len(values)
            for key in values:
                self._coherence.written(key)

        await self._finish(write())

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove entries from both tiers, everywhere."""

        async def remove() -> None:
            for key in keys:
                self._coherence.written(key)
            try:
                await self._redis.remove(keys)
            except StoreUnavailable as error:
                for key in keys:
                    self._owe(ENTRY, key, error)
            for key in keys:
                self._coherence.written(key)

        await self._finish(remove())

    async def remove_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match a glob pattern; return how many Redis had."""

        async def remove() -> int:
            removed = 0
            try:
                async for keys in self._redis.scan(pattern):
                    await self._redis.remove(keys)
                    removed += len(keys)
                    for key in keys:
                        self._coherence.written(key)
            except StoreUnavailable as error:
                self._owe("pattern", pattern, error)
            for number, key in enumerate(list(self._local.entries.keys())):
                if fnmatchcase(key, pattern):
                    self._coherence.written(key)
                if number % CHUNK == CHUNK - 1:
                    await asyncio.sleep(0)
            return removed

        return await self._finish(remove())

    async def remove_tag(self, tag: str) -> None:
        """Make a miss of every entry that carries the tag, in one command."""

        async def remove() -> None:
            self._coherence.tag_written(tag)
            try:
                await self._redis.new_tag_version(tag, ttl_seconds=TAG_SECONDS)
            except StoreUnavailable as error:
                self._owe(TAG, tag, error)
            self._coherence.tag_written(tag)

        await self._finish(remove())

    def _owe(self, kind: str, name: str, error: Exception) -> None:
        if not len(self._coherence.debts):
            log.warning("cache_invalidation_owed", kind=kind, key=name, error=str(error))
        self._coherence.debts.add(kind, name)

    async def close(self) -> None:
        """Wait for the writes that still run; each ends within the budget of its commands."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work, context=without_deadline())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)
