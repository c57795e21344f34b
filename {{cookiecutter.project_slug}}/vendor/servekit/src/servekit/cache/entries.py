"""Entries: how long a value lives, how it is written to Redis, and what the local tier keeps."""

from __future__ import annotations

import math
import random
import re
import struct
import time
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from servekit.cache.codecs import FORMAT, Codec
from servekit.cache.metrics import CacheStats

T = TypeVar("T")

State = Literal["hit", "stale", "miss", "bypass"]
Tier = Literal["local", "redis", "source"]
TagVersions = tuple[tuple[str, bytes], ...]

HEADER = struct.Struct(">B8sBdddffH")
TAGS_MAX = TAG_BYTES_MAX = 0xFFFF
NEGATIVE = 2
VERSION_BYTES = 8

ENTRY_BYTES = 600
"""About what an entry costs beside its value: the object, its key and its place in the table."""

TEXT_BYTES, ITEM_BYTES, LIST_BYTES, OBJECT_BYTES = 64, 110, 60, 450
"""What decoded values take beside their characters: at all, and for each comma, bracket, brace.

Measured on models, dataclasses, lists, dictionaries, numbers, dates: seldom less, at most 4 times
more than they take. A list of empty models takes 120 times the bytes of its JSON.
"""

ASTRAL = re.compile(rb"[\xf0-\xf7]")
"""UTF-8 of what makes Python keep four bytes for each character of a text."""

NO_EPOCH = -2
"""The epoch of an entry that is no hit in any: Redis does not have it."""


@dataclass(frozen=True, slots=True)
class CacheResult(Generic[T]):
    """A value and where it came from; a `miss` was loaded just now, a `bypass` was not cached."""

    value: T
    state: State
    age_seconds: float = 0.0
    tier: Tier = "source"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value and its times, in seconds of the wall clock.

    It may be served until `usable_until`, as fresh until `fresh_until`; `load_seconds` is what the
    load took; `tags` are pairs of name and version, as they were before the load; no worker keeps
    it for longer than `local_seconds` without asking again.
    """

    payload: bytes
    created_at: float
    fresh_until: float
    usable_until: float
    load_seconds: float = 0
    tags: TagVersions = ()
    negative: bool = False
    local_seconds: float = math.inf


class LocalEntry:
    """A decoded value and its times, in seconds of the monotonic clock."""

    __slots__ = (
        "codec",
        "created_at",
        "epoch",
        "fresh_until",
        "guards",
        "hit_until",
        "local_until",
        "refresh_at",
        "size",
        "stats",
        "superseded",
        "tags",
        "usable_until",
        "value",
    )

    value: Any
    codec: object
    stats: CacheStats
    superseded: bool
    """Whether the key was written or removed while it was loaded."""
    tags: TagVersions
    guards: tuple[tuple[tuple[int, str], bytes], ...]
    """What must still be in the local tier for a hit: a copy's name, and the version it holds."""
    size: int
    epoch: int
    created_at: float
    fresh_until: float
    usable_until: float
    local_until: float
    refresh_at: float
    hit_until: float
    """The first of the times that ends a plain hit; the hot path compares this one only."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Times of one cache, in seconds; `jitter` spreads each around its value (0.1: 10 % each way).

    A value is fresh for `ttl_seconds`, then may be served stale for `stale_seconds` while it is
    loaded anew; a load that takes longer than `timeout_seconds` fails (0: never). None, with
    `negative_ttl_seconds` set, lives that long and is never stale.
    """

    name: str
    codec: Codec[Any]
    stats: CacheStats
    ttl_seconds: float
    stale_seconds: float = 0
    negative_ttl_seconds: float | None = None
    local_ttl_seconds: float = math.inf
    jitter: float = 0.1
    timeout_seconds: float = 0

    def entry(self, value: Any, tags: TagVersions, load_seconds: float) -> Entry:
        """Return the value as it is stored.

        Raises:
            NotEncodable: The value has no JSON form.
        """
        now, ttl = time.time(), self.ttl_seconds
        negative = value is None and self.negative_ttl_seconds is not None
        if value is None and self.negative_ttl_seconds is not None:
            ttl = self.negative_ttl_seconds
        fresh = now + ttl * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter
        usable = fresh if negative else fresh + self.stale_seconds
        payload = self.codec.dumps(value)
        return Entry(
            payload, now, fresh, usable, load_seconds, tags, negative, self.local_ttl_seconds
        )

    def kept(self, value: Any, tags: TagVersions, load_seconds: float) -> tuple[Entry, Any]:
        """Return the value as it is stored, and as all who read it get it.

        Raises:
            NotEncodable: The value has no JSON form, or does not come back from it.
        """
        entry = self.entry(value, tags, load_seconds)
        return entry, self.codec.read_back(value, entry.payload)

    def pack(self, entry: Entry) -> bytes:
        """Return the entry as it stands in Redis."""
        return pack(entry, self.codec.fingerprint)

    def uncached(self, value: Any) -> LocalEntry:
        """Return an entry for a value that no tier can hold."""
        return self.localize(Entry(b"", 0, 0, 0), value)

    def localize(self, entry: Entry, value: Any) -> LocalEntry:
        """Return the entry as the local tier keeps it, its times on the monotonic clock."""
        now = time.monotonic()
        shift = now - time.time()
        local = LocalEntry()
        local.value, local.codec, local.stats = value, self.codec, self.stats
        local.tags, local.guards, local.epoch = entry.tags, (), NO_EPOCH
        local.superseded = False
        local.size = ENTRY_BYTES + (
            len(entry.payload) if isinstance(value, bytes) else decoded_bytes(entry.payload)
        )
        local.created_at = entry.created_at + shift
        local.fresh_until = entry.fresh_until + shift
        local.usable_until = entry.usable_until + shift
        local.local_until = min(
            local.usable_until,
            now
            + min(self.local_ttl_seconds, entry.local_seconds) * random.uniform(1 - self.jitter, 1),  # noqa: S311 - jitter
        )
        local.refresh_at = local.fresh_until - _head_start(entry)
        local.hit_until = min(local.refresh_at, local.local_until)
        return local


def decoded_bytes(payload: bytes) -> int:
    """Return about what a value takes in memory whose JSON this is."""
    width = 1 if payload.isascii() else 4 if ASTRAL.search(payload) else 2
    return (
        TEXT_BYTES
        + width * len(payload)
        + ITEM_BYTES * payload.count(b",")
        + LIST_BYTES * payload.count(b"[")
        + OBJECT_BYTES * payload.count(b"{")
    )


def _head_start(entry: Entry) -> float:
    """Return how long before its end an entry is loaded anew (XFetch, VLDB 2015).

    It is random in proportion to the time that the load took, so that few begin at once. With
    a stale window no caller waits anyhow: it stays below one load, for one load each lifetime.
    Without one it is at least two: the next load may be slower.
    """
    draw = random.expovariate(1)
    head_start = entry.load_seconds * (
        min(draw, 1.0) if entry.usable_until > entry.fresh_until else 2 + draw
    )
    return min(head_start, (entry.fresh_until - entry.created_at) / 2)


def pack(entry: Entry, fingerprint: bytes) -> bytes:
    """Return the entry as bytes."""
    flags = NEGATIVE if entry.negative else 0
    times = (entry.created_at, entry.fresh_until, entry.usable_until)
    spans = (entry.load_seconds, entry.local_seconds)
    parts = [HEADER.pack(FORMAT, fingerprint, flags, *times, *spans, len(entry.tags))]
    for tag, version in entry.tags:
        name = tag.encode()
        parts += [struct.pack(">H", len(name)), name, version]
    parts.append(entry.payload)
    return b"".join(parts)


def unpack(data: bytes, fingerprint: bytes) -> Entry | None:
    """Return the entry, or None for anything that another format, version or type wrote."""
    if len(data) < HEADER.size or data[0] != FORMAT or data[1:9] != fingerprint:
        return None
    try:
        _, _, flags, created, fresh, usable, load, kept, count = HEADER.unpack_from(data)
        tags, at = [], HEADER.size
        for _ in range(count):
            (length,) = struct.unpack_from(">H", data, at)
            at += 2
            version = data[at + length : at + length + VERSION_BYTES]
            tags.append((data[at : at + length].decode(), version))
            at += length + VERSION_BYTES
        if at > len(data) or flags not in {0, NEGATIVE}:
            return None
    except (struct.error, UnicodeDecodeError):
        return None
    versions, negative = cast("TagVersions", tuple(tags)), bool(flags & NEGATIVE)
    return Entry(data[at:], created, fresh, usable, load, versions, negative, kept)
