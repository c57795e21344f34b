"""Writes through both tiers, which reach every worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from servekit.cache.coherence import Coherence
from servekit.cache.entries import NO_EPOCH, CachePolicy, Entry, TagVersions
from servekit.cache.keys.space import ENTRY, PATTERN, TAG
from servekit.cache.redis_tier import RedisTier
from servekit.cache.tiers import TierReader
from servekit.errors import StoreUnavailable
from servekit.redis.invalidation import ReadFence
from servekit.resilience.deadlines import without_deadline

T = TypeVar("T")


class Loading(NamedTuple):
    """A load under way: its key, and the removal that waited in the outbox when it began."""

    key: str
    removal: object | None


class TierWriter:
    """Writes and removals never raise for want of Redis: what it missed goes to the outbox.

    They run to the end even if their caller is cancelled: who hangs up leaves nothing old.
    """

    def __init__(self, redis: RedisTier, reader: TierReader, coherence: Coherence) -> None:
        self._redis = redis
        self._reader = reader
        self._coherence = coherence
        self._local = coherence.local
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin_load(self, key: str) -> Loading:
        """Note what is to be removed of a key before it is loaded."""
        return Loading(key, self._coherence.outbox.pending(ENTRY, key))

    async def write_leased(
        self, loading: Loading, policy: CachePolicy, entry: Entry, token: bytes
    ) -> bool:
        """Store what was loaded under the lease; return False if it was removed meanwhile.

        A removal that Redis missed has left the lease; what was loaded before it is old all the
        same, and the removal goes on waiting.

        Raises:
            StoreUnavailable: It is not stored.
        """
        key, outbox = loading.key, self._coherence.outbox
        if outbox.pending(ENTRY, key) is not loading.removal:
            return False
        ttl_seconds = entry.usable_until - time.time()
        data = policy.pack(entry)
        stored = await self._redis.set_leased(key, data, token, ttl_seconds=ttl_seconds)
        policy.stats.writes_redis += stored
        if stored:
            outbox.settle(ENTRY, key, loading.removal)
        return stored

    async def write(self, key: str, policy: CachePolicy, value: Any, tags: Sequence[str]) -> None:
        """Store a value; when Redis is away, remove it there later and keep it here."""

        async def write() -> None:
            versions: TagVersions = ()
            before = self._coherence.outbox.pending(ENTRY, key)
            try:
                versions = await self._reader.tag_versions(tags)
                entry, _ = policy.kept(value, versions, 0)
                ttl_seconds = entry.usable_until - time.time()
                await self._redis.set(key, policy.pack(entry), ttl_seconds=ttl_seconds)
            except StoreUnavailable as error:
                self._coherence.outbox.add(ENTRY, key, error)
                self._coherence.invalidate(key)
                local = policy.localize(*policy.kept(value, versions, 0))
                local.tags = versions or tuple((tag, b"") for tag in tags)  # one may end meanwhile
                self._local.fill(ReadFence(key, NO_EPOCH), local)
            else:
                policy.stats.writes_redis += 1
                self._coherence.outbox.settle(ENTRY, key, before)
                self._coherence.invalidate(key)

        await self._finish(write())

    async def write_many(
        self, values: dict[str, Any], policy: CachePolicy, tags: Sequence[str]
    ) -> None:
        """Store values in one round trip."""

        async def write() -> None:
            before = {key: self._coherence.outbox.pending(ENTRY, key) for key in values}
            try:
                versions = await self._reader.tag_versions(tags)
                entries = {key: policy.kept(each, versions, 0)[0] for key, each in values.items()}
                now = time.time()
                await self._redis.set_many(
                    {
                        key: (policy.pack(entry), entry.usable_until - now)
                        for key, entry in entries.items()
                    }
                )
            except StoreUnavailable as error:
                for key in values:
                    self._coherence.outbox.add(ENTRY, key, error)
            else:
                policy.stats.writes_redis += len(values)
                for key, removal in before.items():
                    self._coherence.outbox.settle(ENTRY, key, removal)
            for key in values:
                self._coherence.invalidate(key)

        await self._finish(write())

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove entries from both tiers, everywhere."""

        async def remove() -> None:
            for key in keys:
                self._coherence.invalidate(key)
            try:
                await self._redis.remove(keys)
            except StoreUnavailable as error:
                for key in keys:
                    self._coherence.outbox.add(ENTRY, key, error)
            for key in keys:
                self._coherence.invalidate(key)

        await self._finish(remove())

    async def remove_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match a glob pattern; return how many Redis had."""

        async def remove() -> int:
            removed = 0
            await self._coherence.invalidate_matching(pattern)
            try:
                async for keys in self._redis.remove_matching(pattern):
                    removed += len(keys)
            except StoreUnavailable as error:
                self._coherence.outbox.add(PATTERN, pattern, error)
            await self._coherence.invalidate_matching(pattern)
            return removed

        return await self._finish(remove())

    async def remove_tag(self, tag: str) -> None:
        """Make a miss of every entry that carries the tag, in one command."""

        async def remove() -> None:
            self._coherence.invalidate_tag(tag)
            try:
                await self._redis.new_tag_version(tag)
            except StoreUnavailable as error:
                self._coherence.outbox.add(TAG, tag, error)
            self._coherence.invalidate_tag(tag)

        await self._finish(remove())

    async def close(self) -> None:
        """Wait for the writes that still run; each ends within the budget of its commands."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work, context=without_deadline())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
