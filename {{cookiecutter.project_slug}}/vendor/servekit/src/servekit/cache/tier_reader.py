"""Reads through both tiers; what comes from Redis is kept locally unless it was just removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from servekit.cache.coherence import TAG_SECONDS, Coherence
from servekit.cache.encoding import unpack
from servekit.cache.local_tier import LocalEntry
from servekit.cache.policy import Policy
from servekit.cache.redis_tier import RedisTier
from servekit.errors import StoreUnavailable
from servekit.redis.marks import Mark

Tags = tuple[tuple[str, bytes], ...]


class TierReader:
    """Reads entries and tag versions; raises StoreUnavailable when Redis is needed and away."""

    def __init__(self, redis: RedisTier, coherence: Coherence) -> None:
        self.redis = redis
        self.local = coherence.local
        self._reads: dict[tuple[str, object], tuple[Mark, asyncio.Future[LocalEntry | None]]] = {}

    def near(self, key: str, policy: Policy) -> LocalEntry | None:
        """Return the local entry if it is as Redis has it."""
        entry = self.local.entries.get(key, None)
        if entry is None or entry.codec is not policy.codec:
            return None
        if time.monotonic() >= entry.local_until or not self.local.trusted(entry):
            return None
        return entry

    def left(self, key: str, policy: Policy) -> LocalEntry | None:
        """Return what may be served while Redis is away."""
        entry = self.local.stale(key)
        return entry if entry is not None and entry.codec is policy.codec else None

    async def fetch(
        self, key: str, policy: Policy, tags: Sequence[str], *, anew: bool = False
    ) -> LocalEntry | None:
        """Return the usable entry in Redis; callers share a read under way, but for `anew`.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        name = (key, policy.codec)  # what one type reads is nothing to another
        while not anew and (pending := self._reads.get(name)) and not pending[0].spoiled:
            try:
                return await asyncio.shield(pending[1])
            except asyncio.CancelledError:
                if not pending[1].cancelled():
                    raise  # This caller was cancelled, not the one who reads.
        mark = self.local.begin(key)
        future: asyncio.Future[LocalEntry | None] = asyncio.get_running_loop().create_future()
        self._reads[name] = reading = (mark, future)
        try:
            entry = await self._read(mark, policy, tags)
        except StoreUnavailable as error:
            future.set_exception(error)
            future.exception()  # Seen: there may be no one else.
            raise
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(entry)
            return entry
        finally:
            self.local.end(mark)
            if self._reads.get(name) is reading:
                del self._reads[name]

    async def _read(self, mark: Mark, policy: Policy, tags: Sequence[str]) -> LocalEntry | None:
        known = self.local.tag_versions
        unknown = [tag for tag in tags if tag not in known]
        if unknown:
            data, versions = await self._read_with_tags([mark.name], unknown)
        else:
            data, versions = [await self.redis.get(mark.name)], {}
        return await self._admit(mark, policy, data[0], versions)

    async def _admit(
        self, mark: Mark, policy: Policy, data: bytes | None, versions: dict[str, bytes | None]
    ) -> LocalEntry | None:
        """Return the entry if it is usable and its tags are current, and keep it locally."""
        entry = unpack(data, policy.codec.fingerprint) if data is not None else None
        if entry is None or time.time() >= entry.usable_until:
            return None
        known = self.local.tag_versions
        missing = [tag for tag, _ in entry.tags if tag not in versions and tag not in known]
        if missing:
            versions |= (await self._read_with_tags([], missing))[1]
        for tag, version in entry.tags:
            if (versions[tag] if tag in versions else known.get(tag, None)) != version:
                return None
        try:
            local = policy.localize(entry, policy.codec.loads(entry.payload))
        except ValueError:
            return None
        self.local.fill(mark, local)
        return local

    async def _read_with_tags(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        marks = [self.local.begin_tag(tag) for tag in tags]
        try:
            found = await self.redis.read(keys, tags)
            versions = dict(zip(tags, found[len(keys) :], strict=True))
            for mark, (tag, version) in zip(marks, versions.items(), strict=True):
                if version is not None:
                    self.local.fill_tag(mark, tag, version)
            return found[: len(keys)], versions
        finally:
            for mark in marks:
                self.local.end(mark)

    async def fetch_many(self, keys: Sequence[str], policy: Policy) -> dict[str, LocalEntry]:
        """Return the usable entries among the keys, in one round trip."""
        marks = [self.local.begin(key) for key in keys]
        try:
            found = await self.redis.read(keys, ())
            entries = {}
            for mark, data in zip(marks, found, strict=True):
                entry = await self._admit(mark, policy, data, {})
                if entry is not None:
                    entries[mark.name] = entry
            return entries
        finally:
            for mark in marks:
                self.local.end(mark)

    async def tag_versions(self, tags: Sequence[str]) -> Tags:
        """Return the tags' versions now, to be stored with what is read from here on."""
        if not tags:
            return ()
        versions: dict[str, bytes | None] = {}
        unknown = []
        for tag in tags:
            versions[tag] = self.local.tag_versions.get(tag, None)
            if versions[tag] is None:
                unknown.append(tag)
        if unknown:
            versions |= (await self._read_with_tags([], unknown))[1]
        current = []
        for tag, version in versions.items():
            first = self.redis.first_tag_version
            current.append((tag, version or await first(tag, ttl_seconds=TAG_SECONDS)))
        return tuple(current)
