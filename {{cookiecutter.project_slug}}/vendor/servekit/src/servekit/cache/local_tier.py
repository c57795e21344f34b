"""The worker's own tier: decoded values, bounded in bytes, dropped when another process writes."""

from __future__ import annotations

import math
import time
from sys import getsizeof
from typing import Any

from cachebox import LRUCache

from servekit.cache.entries import NO_EPOCH, LocalEntry
from servekit.redis.invalidation import ReadFence, ReadFences

UNTRUSTED = -1
"""The epoch while other processes' writes may go unnoticed."""

TAG_BYTES = 300
"""About what the version of a tag costs, beside the tag's name: in an entry, or as a copy."""

ENDED_BYTES = 2**20
"""Room for the tags that were invalidated last, for what is served while Redis is away."""


class LocalTier:
    """Entries and tag versions that are as Redis has them, as long as the tier is trusted.

    Entries of another epoch are no hits; they stay as what may be served stale while Redis is away.
    Versions share the room of the entries that need them, so what is used together stays together.
    Where keys may move to a server that nobody follows, `seconds_max` bounds the life of a copy.
    """

    def __init__(self, limit_bytes: int, *, seconds_max: float = math.inf) -> None:
        self.epoch = UNTRUSTED
        self._epochs = 0
        self._limit_bytes = limit_bytes
        self._seconds_max = seconds_max
        self._fences = ReadFences()
        # 0 would mean "no bound" to cachebox.
        self.held: LRUCache[Any, Any] = LRUCache(max(limit_bytes, 1), getsizeof=_size)
        """Entries by key, and the versions of tags by epoch and tag."""
        self._ended_at: LRUCache[str, float] = LRUCache(
            ENDED_BYTES, getsizeof=lambda tag, _: TAG_BYTES + getsizeof(tag)
        )

    @property
    def size_bytes(self) -> int:
        return self.held.current_size()

    def entry_keys(self) -> list[str]:
        """Return the keys of the entries."""
        return [name for name in self.held.keys() if isinstance(name, str)]  # noqa: SIM118 - no dict

    def trust(self) -> None:
        """Begin an epoch: from now on every write of another process is heard of."""
        self._epochs += 1
        self.epoch = self._epochs

    def distrust(self) -> None:
        """End the epoch: writes of other processes may go unnoticed."""
        if self.epoch == UNTRUSTED:
            return  # Loads since then are kept, however often the channel fails to come back.
        self.epoch = UNTRUSTED
        self._fences.invalidate_all()

    def clear(self) -> None:
        """Forget everything: the database was emptied."""
        self._fences.invalidate_all()
        self.held.clear()

    def begin_read(self, key: str) -> ReadFence:
        """Fence a read of the key, before it is sent; finish with `end_read`."""
        return self._fences.begin(key, self.epoch)

    def begin_tag_read(self, tag: str) -> ReadFence:
        return self._fences.begin(f"\0{tag}", self.epoch)

    def end_read(self, fence: ReadFence) -> None:
        self._fences.end(fence)

    def fill(self, fence: ReadFence, entry: LocalEntry) -> None:
        """Keep what was read behind the fence, unless an invalidation came in between."""
        entry.size += getsizeof(fence.key) + sum(
            TAG_BYTES + getsizeof(tag) for tag, _ in entry.tags
        )
        if fence.invalidated or entry.size > self._limit_bytes:
            return
        entry.epoch = fence.epoch if fence.epoch == self.epoch != UNTRUSTED else NO_EPOCH
        entry.guards = tuple(((entry.epoch, tag), version) for tag, version in entry.tags)
        if self._seconds_max < math.inf:
            entry.local_until = min(entry.local_until, time.monotonic() + self._seconds_max)
            entry.hit_until = min(entry.hit_until, entry.local_until)
        self.held[fence.key] = entry
        entry.stats.writes_local += 1

    def fill_tag(self, fence: ReadFence, tag: str, version: bytes) -> None:
        if not fence.invalidated and fence.epoch == self.epoch != UNTRUSTED:
            self.held[self.epoch, tag] = version

    def tag_version(self, tag: str) -> bytes | None:
        """Return the version of a tag, where it need not be asked for."""
        if self._seconds_max < math.inf:
            return None
        version: bytes | None = self.held.get((self.epoch, tag), None)
        return version

    def current(self, entry: LocalEntry) -> bool:
        """Return whether the entry is as Redis has it, tags included."""
        if entry.epoch != self.epoch:
            return False
        held = self.held
        for name, version in entry.guards:  # noqa: SIM110 - a generator costs the hot path 200 ns
            if held.get(name, None) != version:
                return False
        return True

    def get_current(self, key: str, codec: object) -> LocalEntry | None:
        """Return the entry of the key if it is as Redis has it."""
        entry: LocalEntry | None = self.held.get(key, None)
        if entry is None or entry.codec is not codec or time.monotonic() >= entry.local_until:
            return None
        return entry if self.current(entry) else None

    def get_usable(self, key: str, codec: object) -> LocalEntry | None:
        """Return what may be served while Redis is away, if anything."""
        entry: LocalEntry | None = self.held.get(key, None)
        if entry is None or entry.codec is not codec or time.monotonic() >= entry.usable_until:
            return None
        # No version tells now whether a tag was invalidated: that this worker did it does.
        ended = any(self._ended_at.get(tag, 0.0) >= entry.created_at for tag, _ in entry.tags)
        return None if ended else entry

    def invalidate(self, key: str) -> None:
        """Drop the key, and whatever is being read for it."""
        self._fences.invalidate(key)
        entry: LocalEntry | None = self.held.pop(key, None)
        if entry is not None:
            entry.stats.invalidations_local += 1

    def invalidate_tag(self, tag: str) -> None:
        self._fences.invalidate(f"\0{tag}")
        self.held.pop((self.epoch, tag), None)
        self._ended_at[tag] = time.monotonic()

    def reads_under_way(self) -> list[str]:
        """Return the keys that are being read or loaded."""
        return self._fences.keys()


def _size(name: Any, held: Any) -> int:
    return held.size if type(held) is LocalEntry else TAG_BYTES + getsizeof(name[1])
