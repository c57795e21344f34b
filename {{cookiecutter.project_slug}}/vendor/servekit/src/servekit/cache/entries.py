"""Entries: how long a value lives, how it is written to Redis, and what the local tier keeps."""

from __future__ import annotations

import json
import math
import random
import struct
import time
import zlib
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from servekit.cache.metrics import CacheStats

T = TypeVar("T")

State = Literal["hit", "stale", "miss", "bypass"]
Tier = Literal["local", "redis", "source"]
TagVersions = tuple[tuple[str, bytes], ...]

FORMAT = 1
HEADER = struct.Struct(">B8sBdddfB")
COMPRESSED, NEGATIVE = 1, 2
VERSION_BYTES = 8
COMPRESSION_LEVEL = 1

ENTRY_BYTES = 600
"""About what an entry costs beside its value: the object, its key and its place in the table."""

VALUE_FACTOR = 3
"""Decoded objects take about three times the bytes of their JSON (measured on pydantic models)."""

NO_EPOCH = -2
"""The epoch of an entry that is no hit in any: Redis does not have it."""


class NotEncodable(TypeError):  # noqa: N818 - a property of the value
    """The value is no JSON of the declared type."""


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
    load took; `tags` are pairs of name and version, as they were before the load.
    """

    payload: bytes
    created_at: float
    fresh_until: float
    usable_until: float
    load_seconds: float = 0
    tags: TagVersions = ()
    negative: bool = False


class LocalEntry:
    """A decoded value and its times, in seconds of the monotonic clock."""

    __slots__ = (
        "codec",
        "created_at",
        "epoch",
        "fresh_until",
        "hit_until",
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
    tags: TagVersions
    size: int
    epoch: int
    created_at: float
    fresh_until: float
    usable_until: float
    local_until: float
    refresh_at: float
    hit_until: float
    """The first of the times that ends a plain hit; the hot path compares this one only."""


class Codec(Generic[T]):
    """Turns values of one type into bytes and back; `version` tells apart what the type cannot.

    The fingerprint stands in every entry: what another type, version or format wrote is a miss.
    """

    def __init__(self, kind: Any, *, version: str = "") -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        try:
            schema = json.dumps(self._adapter.json_schema(mode="serialization"), sort_keys=True)
        except (PydanticUserError, PydanticSchemaGenerationError):
            schema = repr(kind)
        text = f"{FORMAT}|{version}|{schema}"
        self.fingerprint = blake2b(text.encode(), digest_size=8).digest()

    def dumps(self, value: T) -> bytes:
        """Return the value as bytes.

        Raises:
            NotEncodable: The value has no JSON form.
        """
        try:
            # Field names and no computed fields: the form that every model takes back.
            return self._adapter.dump_json(value, round_trip=True, warnings=False)
        except ValueError as error:
            raise NotEncodable(str(error)) from error

    def loads(self, data: bytes) -> T:
        """Return the value, or raise ValueError."""
        return self._adapter.validate_json(data, by_alias=True, by_name=True)


class BytesCodec(Codec[bytes]):
    """Passes bytes through."""

    def __init__(self) -> None:
        self.fingerprint = blake2b(f"{FORMAT}|bytes".encode(), digest_size=8).digest()

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, data: bytes) -> bytes:
        return data


@cache
def codec_of(kind: Any, version: str = "") -> Codec[Any]:
    """Return the one codec of the type: local entries are told apart by it."""
    if kind is bytes and not version:
        return BytesCodec()
    return Codec(kind, version=version)


@dataclass(frozen=True, slots=True)
class CachePolicy:
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
        return Entry(payload, now, fresh, usable, load_seconds, tags, negative)

    def pack(self, entry: Entry) -> bytes:
        """Return the entry as it stands in Redis."""
        return pack(entry, self.codec.fingerprint, compress_bytes=self.compress_bytes)

    def uncached(self, value: Any) -> LocalEntry:
        """Return an entry for a value that no tier can hold."""
        return self.localize(Entry(b"", 0, 0, 0), value)

    def localize(self, entry: Entry, value: Any) -> LocalEntry:
        """Return the entry as the local tier keeps it, its times on the monotonic clock."""
        now = time.monotonic()
        shift = now - time.time()
        local = LocalEntry()
        local.value, local.codec, local.stats = value, self.codec, self.stats
        local.tags, local.epoch = entry.tags, NO_EPOCH
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
        local.hit_until = min(local.refresh_at, local.local_until)
        return local


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


def pack(entry: Entry, fingerprint: bytes, *, compress_bytes: int = 0) -> bytes:
    """Return the entry as bytes; a payload of `compress_bytes` or more is compressed (0: never)."""
    flags, payload = NEGATIVE if entry.negative else 0, entry.payload
    if compress_bytes and len(payload) >= compress_bytes:
        flags, payload = flags | COMPRESSED, zlib.compress(payload, COMPRESSION_LEVEL)
    times = (entry.created_at, entry.fresh_until, entry.usable_until, entry.load_seconds)
    parts = [HEADER.pack(FORMAT, fingerprint, flags, *times, len(entry.tags))]
    for tag, version in entry.tags:
        name = tag.encode()
        parts += [struct.pack(">H", len(name)), name, version]
    parts.append(payload)
    return b"".join(parts)


def unpack(data: bytes, fingerprint: bytes) -> Entry | None:
    """Return the entry, or None for anything that another format, version or type wrote."""
    if len(data) < HEADER.size or data[0] != FORMAT or data[1:9] != fingerprint:
        return None
    try:
        _, _, flags, created, fresh, usable, load, count = HEADER.unpack_from(data)
        tags, at = [], HEADER.size
        for _ in range(count):
            (length,) = struct.unpack_from(">H", data, at)
            at += 2
            version = data[at + length : at + length + VERSION_BYTES]
            tags.append((data[at : at + length].decode(), version))
            at += length + VERSION_BYTES
        payload = data[at:]
        if flags & COMPRESSED:
            payload = zlib.decompress(payload)
    except (struct.error, zlib.error, UnicodeDecodeError):
        return None
    return Entry(
        payload, created, fresh, usable, load, cast("Any", tuple(tags)), bool(flags & NEGATIVE)
    )
