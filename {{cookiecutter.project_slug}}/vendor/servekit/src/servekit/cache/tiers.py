"""Reads through both tiers: what is read from Redis fills the local one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from servekit.cache.entries import (
    TAG_BYTES_MAX,
    TAGS_MAX,
    CachePolicy,
    LocalEntry,
    TagVersions,
    unpack,
)
from servekit.cache.local_tier import LocalTier
from servekit.cache.redis_tier import RedisTier
from servekit.errors import StoreUnavailable
from servekit.redis.invalidation import ReadFence


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
        """Return the tags' versions now, to be stored with what is read from here on.

        Raises:
            ValueError: They are too many, or one is too long.
        """
        if not tags:
            return ()
        if len(tags) > TAGS_MAX or max(len(tag.encode()) for tag in tags) > TAG_BYTES_MAX:
            raise ValueError(f"a value has at most {TAGS_MAX} tags, of {TAG_BYTES_MAX} bytes each")
        versions: dict[str, bytes | None] = {tag: self.local.tag_version(tag) for tag in tags}
        missing = [tag for tag, version in versions.items() if version is None]
        if missing:
            versions |= (await self._read_with_tags([], missing))[1]
        current = []
        for tag, version in versions.items():
            current.append((tag, version or await self.redis.first_tag_version(tag)))
        return tuple(current)
