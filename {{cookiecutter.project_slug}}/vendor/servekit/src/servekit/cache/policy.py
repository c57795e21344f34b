"""How long the values of one cache live, and what a lookup says."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from servekit.cache.encoding import Codec, Entry
from servekit.cache.local_tier import ENTRY_BYTES, NEVER, VALUE_FACTOR, LocalEntry
from servekit.cache.metrics import CacheStats

T = TypeVar("T")

State = Literal["hit", "stale", "miss", "bypass"]
Tier = Literal["local", "redis", "source"]


@dataclass(frozen=True, slots=True)
class CacheResult(Generic[T]):
    """A value and where it came from; a `miss` was loaded just now, a `bypass` was not cached."""

    value: T
    state: State
    age_seconds: float = 0.0
    tier: Tier = "source"


@dataclass(frozen=True, slots=True)
class Policy:
    """Times of one cache, in seconds; `jitter` spreads each around its value (0.1: 10 % each way).

    A value is fresh for `ttl_seconds`, then may be served stale for `stale_seconds` while it is
    loaded anew. None, with `negative_ttl_seconds` set, lives that long and is never stale.
    """

    name: str
    codec: Codec[Any]
    stats: CacheStats
    ttl_seconds: float
    stale_seconds: float = 0
    negative_ttl_seconds: float | None = None
    local_ttl_seconds: float = math.inf
    jitter: float = 0.1
    compress_bytes: int = 0

    def entry(self, value: Any, tags: tuple[tuple[str, bytes], ...], load_seconds: float) -> Entry:
        """Return the value as it is stored.

        Raises:
            NotEncodable: The value has no JSON form.
        """
        now = time.time()
        negative = value is None and self.negative_ttl_seconds is not None
        ttl = (
            self.ttl_seconds
            if self.negative_ttl_seconds is None or not negative
            else (self.negative_ttl_seconds)
        )
        fresh = now + ttl * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter
        usable = fresh if negative else fresh + self.stale_seconds
        payload = self.codec.dumps(value)
        return Entry(payload, now, fresh, usable, load_seconds, tags, negative)

    def uncached(self, value: Any) -> LocalEntry:
        """Return an entry for a value that no tier can hold."""
        return self.localize(Entry(b"", 0, 0, 0), value)

    def localize(self, entry: Entry, value: Any) -> LocalEntry:
        """Return the entry as the local tier keeps it, its times on the monotonic clock."""
        now = time.monotonic()
        shift = now - time.time()
        local = LocalEntry()
        local.value, local.codec, local.stats = value, self.codec, self.stats
        local.tags, local.epoch = entry.tags, NEVER
        local.size = ENTRY_BYTES + len(entry.payload) * (
            1 if isinstance(value, bytes) else VALUE_FACTOR
        )
        local.created_at = entry.created_at + shift
        local.fresh_until = entry.fresh_until + shift
        local.usable_until = entry.usable_until + shift
        local.local_until = min(
            local.usable_until,
            now + self.local_ttl_seconds * random.uniform(1 - self.jitter, 1),  # noqa: S311 - jitter
        )
        local.refresh_at = local.fresh_until - _head_start(entry)
        local.good_until = min(local.refresh_at, local.local_until)
        return local


def _head_start(entry: Entry) -> float:
    """Return how long before its end an entry is loaded anew (XFetch, VLDB 2015).

    It is random in proportion to the time that the last load took, so that few begin at once. With
    a stale window no caller waits anyhow: it stays below one load, for one load each lifetime.
    Without one it is at least two: the next load may be slower.
    """
    draw = random.expovariate(1)
    head_start = entry.load_seconds * (
        min(draw, 1.0) if entry.usable_until > entry.fresh_until else 2 + draw
    )
    return min(head_start, (entry.fresh_until - entry.created_at) / 2)
