"""The worker's own tier: decoded values, bounded in bytes, dropped when another process writes."""

from __future__ import annotations

import time

from cachebox import LRUCache

from servekit.cache.entries import NO_EPOCH, LocalEntry
from servekit.redis.invalidation import ReadFence, ReadFences

UNTRUSTED = -1
"""The epoch while other processes' writes may go unnoticed."""


class LocalTier:
    """Entries and tag versions that are as Redis has them, as long as the tier is trusted.

    Entries of another epoch are no hits; they stay as what may be served stale while Redis is away.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.epoch = UNTRUSTED
        self._epochs = 0
        self._limit_bytes = limit_bytes
        self._fences = ReadFences()
        # 0 would mean "no bound" to cachebox.
        self.entries: LRUCache[str, LocalEntry] = LRUCache(
            max(limit_bytes, 1), getsizeof=lambda _, entry: entry.size
        )
        self.tag_versions: LRUCache[str, bytes] = LRUCache(10_000)

    @property
    def size_bytes(self) -> int:
        return self.entries.current_size()

    def trust(self) -> None:
        """Begin an epoch: from now on every write of another process is heard of."""
        self._epochs += 1
        self.epoch = self._epochs
        self.tag_versions.clear()

    def distrust(self) -> None:
        """End the epoch: writes of other processes may go unnoticed."""
        if self.epoch == UNTRUSTED:
            return  # Loads since then are kept, however often the channel fails to come back.
        self.epoch = UNTRUSTED
        self._fences.invalidate_all()
        self.tag_versions.clear()

    def clear(self) -> None:
        """Forget everything: the database was emptied."""
        self._fences.invalidate_all()
        self.entries.clear()
        self.tag_versions.clear()

    def begin_read(self, key: str) -> ReadFence:
        """Fence a read of the key, before it is sent; finish with `end_read`."""
        return self._fences.begin(key, self.epoch)

    def begin_tag_read(self, tag: str) -> ReadFence:
        return self._fences.begin(f"\0{tag}", self.epoch)

    def end_read(self, fence: ReadFence) -> None:
        self._fences.end(fence)

    def fill(self, fence: ReadFence, entry: LocalEntry) -> None:
        """Keep what was read behind the fence, unless an invalidation came in between."""
        if fence.invalidated or entry.size > self._limit_bytes:
            return
        entry.epoch = fence.epoch if fence.epoch == self.epoch != UNTRUSTED else NO_EPOCH
        self.entries[fence.key] = entry
        entry.stats.writes_local += 1

    def fill_tag(self, fence: ReadFence, tag: str, version: bytes) -> None:
        if not fence.invalidated and fence.epoch == self.epoch != UNTRUSTED:
            self.tag_versions[tag] = version

    def current(self, entry: LocalEntry) -> bool:
        """Return whether the entry is as Redis has it, tags included."""
        if entry.epoch != self.epoch:
            return False
        versions = self.tag_versions
        for tag, version in entry.tags:  # noqa: SIM110 - a generator costs the hot path 200 ns
            if versions.get(tag, None) != version:
                return False
        return True

    def get_current(self, key: str, codec: object) -> LocalEntry | None:
        """Return the entry of the key if it is as Redis has it."""
        entry = self.entries.get(key, None)
        if entry is None or entry.codec is not codec or time.monotonic() >= entry.local_until:
            return None
        return entry if self.current(entry) else None

    def get_usable(self, key: str, codec: object) -> LocalEntry | None:
        """Return what may be served while Redis is away, if anything."""
        entry = self.entries.get(key, None)
        if entry is None or entry.codec is not codec or time.monotonic() >= entry.usable_until:
            return None
        return entry

    def invalidate(self, key: str) -> None:
        """Drop the key, and whatever is being read for it."""
        self._fences.invalidate(key)
        entry: LocalEntry | None = self.entries.pop(key, None)
        if entry is not None:
            entry.stats.invalidations_local += 1

    def invalidate_tag(self, tag: str) -> None:
        self._fences.invalidate(f"\0{tag}")
        self.tag_versions.pop(tag, None)
