"""The worker's own tier: decoded values, bounded in bytes, dropped when another process writes."""

from __future__ import annotations

import time
from typing import Any

from cachebox import LRUCache

from servekit.cache.metrics import CacheStats
from servekit.redis.marks import Mark, Marks

ENTRY_BYTES = 600
"""About what an entry costs beside its value: the object, its key and its place in the table."""

VALUE_FACTOR = 3
"""Decoded objects take about three times the bytes of their JSON (measured on pydantic models)."""

UNTRUSTED = -1
"""The epoch while nobody tells of other processes' writes."""

NEVER = -2
"""The epoch of an entry that is no hit in any: Redis does not have it."""


class LocalEntry:
    """A decoded value and its times, in seconds of the monotonic clock."""

    __slots__ = (
        "codec",
        "created_at",
        "epoch",
        "fresh_until",
        "good_until",
        "local_until",
        "refresh_at",
        "size",
        "stats",
        "tags",
        "usable_until",
        "value",
    )

    value: Any
    codec: object
    stats: CacheStats
    tags: tuple[tuple[str, bytes], ...]
    size: int
    epoch: int
    created_at: float
    fresh_until: float
    usable_until: float
    local_until: float
    refresh_at: float
    good_until: float
    """The first of the times that ends a plain hit; the hot path compares this one only."""


class LocalTier:
    """Entries and tag versions that are as Redis has them, as long as the tier is trusted.

    Entries of another epoch are no hits; they stay as what may be served stale while Redis is away.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.epoch = UNTRUSTED
        self._epochs = 0
        self._limit_bytes = limit_bytes
        self._marks = Marks()
        # 0 would mean "no bound" to cachebox.
        self.entries: LRUCache[str, LocalEntry] = LRUCache(
            max(limit_bytes, 1), getsizeof=lambda _, entry: entry.size
        )
        self.tag_versions: LRUCache[str, bytes] = LRUCache(10_000)

    @property
    def size_bytes(self) -> int:
        return self.entries.current_size()

    def trust(self) -> None:
        """Begin an epoch: from now on every write of others is told."""
        self._epochs += 1
        self.epoch = self._epochs
        self.tag_versions.clear()

    def distrust(self) -> None:
        """End the epoch: writes of others may go unnoticed."""
        if self.epoch == UNTRUSTED:
            return  # Loads since then are kept, however often the channel fails to come back.
        self.epoch = UNTRUSTED
        self._marks.spoil_all()
        self.tag_versions.clear()

    def clear(self) -> None:
        """Forget everything: the database was emptied."""
        self._marks.spoil_all()
        self.entries.clear()
        self.tag_versions.clear()

    def begin(self, key: str) -> Mark:
        """Note that the key is being read, before it is; finish with `end`."""
        return self._marks.begin(key, self.epoch)

    def begin_tag(self, tag: str) -> Mark:
        return self._marks.begin(f"\0{tag}", self.epoch)

    def end(self, mark: Mark) -> None:
        self._marks.end(mark)

    def fill(self, mark: Mark, entry: LocalEntry) -> None:
        """Keep what was read under the mark, unless an invalidation came in between."""
        if mark.spoiled or entry.size > self._limit_bytes:
            return
        entry.epoch = mark.epoch if mark.epoch == self.epoch != UNTRUSTED else NEVER
        self.entries[mark.name] = entry
        entry.stats.writes_local += 1

    def fill_tag(self, mark: Mark, tag: str, version: bytes) -> None:
        if not mark.spoiled and mark.epoch == self.epoch != UNTRUSTED:
            self.tag_versions[tag] = version

    def trusted(self, entry: LocalEntry) -> bool:
        """Return whether the entry is as Redis has it, tags included."""
        if entry.epoch != self.epoch:
            return False
        versions = self.tag_versions
        for tag, version in entry.tags:  # noqa: SIM110 - a generator costs the hot path 200 ns
            if versions.get(tag, None) != version:
                return False
        return True

    def invalidate(self, key: str) -> None:
        """Drop the key, and whatever is being read for it."""
        self._marks.spoil(key)
        entry: LocalEntry | None = self.entries.pop(key, None)
        if entry is not None:
            entry.stats.invalidations_local += 1

    def invalidate_tag(self, tag: str) -> None:
        self._marks.spoil(f"\0{tag}")
        self.tag_versions.pop(tag, None)

    def stale(self, key: str) -> LocalEntry | None:
        """Return what may be served while Redis is away, if anything."""
        entry = self.entries.get(key, None)
        if entry is None or time.monotonic() >= entry.usable_until:
            return None
        return entry
