"""Reads and writes through both tiers: reads fill the local one, writes reach every worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from servekit.cache.coherence import Coherence
from servekit.cache.entries import (
    NO_EPOCH,
    CachePolicy,
    Entry,
    LocalEntry,
    TagVersions,
    unpack,
)
from servekit.cache.keys.space import ENTRY, PATTERN, TAG
from servekit.cache.local_tier import LocalTier
from servekit.cache.redis_tier import RedisTier
from servekit.errors import StoreUnavailable
from servekit.redis.invalidation import ReadFence
from servekit.resilience.deadlines import without_deadline

T = TypeVar("T")


class ReaderLeft(Exception):  # noqa: N818 - a state, for those who shared a read
    """Whoever read for all was cancelled, or failed in a way of its own."""


Read = tuple[ReadFence, "asyncio.Future[LocalEntry | None]"]
"""A read under way, and what comes of it for all who share it."""


class TierReader:
    """Reads entries and tag versions; raises StoreUnavailable when Redis is needed and away."""

    def __init__(
        self, redis: RedisTier, local: LocalTier, is_to_go: Callable[[str, Sequence[str]], bool]
    ) -> None:
        self.redis = redis
        self.local = local
        self._is_to_go = is_to_go
        """Whether an entry of this key and these tags is there only as a removal failed."""
        self._reads: dict[tuple[str, object], Read] = {}

    async def fetch(
        self, key: str, policy: CachePolicy, tags: Sequence[str], *, shared: bool = True
    ) -> LocalEntry | None:
        """Return the usable entry in Redis; callers share a read under way, if it is `shared`.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        name = (key, policy.codec)  # what one type reads is nothing to another
        while shared and (pending := self._reads.get(name)) and not pending[0].invalidated:
            # A cancellation is this caller's own: the one who reads leaves by another error.
            with contextlib.suppress(ReaderLeft):
                return await asyncio.shield(pending[1])
        fence = self.local.begin_read(key)
        future: asyncio.Future[LocalEntry | None] = asyncio.get_running_loop().create_future()
        self._reads[name] = read = (fence, future)
        try:
            entry = await self._read(fence, policy, tags)
        except StoreUnavailable as error:
            future.set_exception(error)
            future.exception()  # Retrieved: there may be nobody who shares it.
            raise
        except BaseException:
            future.set_exception(ReaderLeft())
            future.exception()
            raise
        else:
            future.set_result(entry)
            return entry
        finally:
            self.local.end_read(fence)
            if self._reads.get(name) is read:
                del self._reads[name]

    async def _read(
        self, fence: ReadFence, policy: CachePolicy, tags: Sequence[str]
    ) -> LocalEntry | None:
        missing = [tag for tag in tags if self.local.tag_version(tag) is None]
        if missing:
            data, versions = await self._read_with_tags([fence.key], missing)
        else:
            data, versions = [await self.redis.get(fence.key)], {}
        return await self._admit(fence, policy, data[0], versions)

    async def _admit(
        self,
        fence: ReadFence,
        policy: CachePolicy,
        data: bytes | None,
        versions: dict[str, bytes | None],
    ) -> LocalEntry | None:
        """Return the entry if it is usable and its tags are current, and keep it locally."""
        entry = unpack(data, policy.codec.fingerprint) if data is not None else None
        if entry is None or time.time() >= entry.usable_until:
            return None
        if self._is_to_go(fence.key, [tag for tag, _ in entry.tags]):
            return None
        known = {tag: self.local.tag_version(tag) for tag, _ in entry.tags} | versions
        missing = [tag for tag, version in known.items() if version is None and tag not in versions]
        if missing:
            known |= (await self._read_with_tags([], missing))[1]
        if any(known[tag] != version for tag, version in entry.tags):
            return None
        try:
            local = policy.localize(entry, policy.codec.loads(entry.payload))
        except ValueError:
            return None
        self.local.fill(fence, local)
        return local

    async def _read_with_tags(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        fences = [self.local.begin_tag_read(tag) for tag in tags]
        try:
            values = await self.redis.read(keys, tags)
            versions = dict(zip(tags, values[len(keys) :], strict=True))
            for fence, (tag, version) in zip(fences, versions.items(), strict=True):
                if version is not None:
                    self.local.fill_tag(fence, tag, version)
            return values[: len(keys)], versions
        finally:
            for fence in fences:
                self.local.end_read(fence)

    async def fetch_many(self, keys: Sequence[str], policy: CachePolicy) -> dict[str, LocalEntry]:
        """Return the usable entries among the keys: in one round trip, two where they have tags."""
        fences = [self.local.begin_read(key) for key in keys]
        try:
            values = await self.redis.read(keys, ())
            found = [unpack(data, policy.codec.fingerprint) for data in values if data is not None]
            tags = dict.fromkeys(tag for entry in found if entry for tag, _ in entry.tags)
            unknown = [tag for tag in tags if self.local.tag_version(tag) is None]
            versions = (await self._read_with_tags([], unknown))[1] if unknown else {}
            entries = {}
            for fence, data in zip(fences, values, strict=True):
                entry = await self._admit(fence, policy, data, versions)
                if entry is not None:
                    entries[fence.key] = entry
            return entries
        finally:
            for fence in fences:
                self.local.end_read(fence)

    async def tag_versions(self, tags: Sequence[str]) -> TagVersions:
        """Return the tags' versions now, to be stored with what is read from here on."""
        if not tags:
            return ()
        versions: dict[str, bytes | None] = {tag: self.local.tag_version(tag) for tag in tags}
        missing = [tag for tag, version in versions.items() if version is None]
        if missing:
            versions |= (await self._read_with_tags([], missing))[1]
        current = []
        for tag, version in versions.items():
            current.append((tag, version or await self.redis.first_tag_version(tag)))
        return tuple(current)


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

    async def write_leased(self, key: str, policy: CachePolicy, entry: Entry, token: bytes) -> bool:
        """Store what was loaded under the lease; return False if it was removed meanwhile.

        Raises:
            StoreUnavailable: It is not stored.
        """
        ttl_seconds = entry.usable_until - time.time()
        data = policy.pack(entry)
        stored = await self._redis.set_leased(key, data, token, ttl_seconds=ttl_seconds)
        policy.stats.writes_redis += stored
        if stored:
            self._coherence.outbox.drop(ENTRY, key)
        return stored

    async def write(self, key: str, policy: CachePolicy, value: Any, tags: Sequence[str]) -> None:
        """Store a value; when Redis is away, remove it there later and keep it here."""

        async def write() -> None:
            versions: TagVersions = ()
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
                self._coherence.outbox.drop(ENTRY, key)
                self._coherence.invalidate(key)

        await self._finish(write())

    async def write_many(
        self, values: dict[str, Any], policy: CachePolicy, tags: Sequence[str]
    ) -> None:
        """Store values in one round trip."""

        async def write() -> None:
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
                for key in values:
                    self._coherence.outbox.drop(ENTRY, key)
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
