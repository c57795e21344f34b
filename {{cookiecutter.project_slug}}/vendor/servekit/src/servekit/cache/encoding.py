"""How an entry of the cache is written: a header, its tags, then the value as JSON or bytes."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, TypeVar, cast

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

T = TypeVar("T")

FORMAT = 1
HEADER = struct.Struct(">B8sBdddfB")
COMPRESSED, NEGATIVE = 1, 2
VERSION_BYTES = 8
COMPRESSION_LEVEL = 1


class NotEncodable(TypeError):  # noqa: N818 - a property of the value
    """The value is no JSON of the declared type."""


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
    tags: tuple[tuple[str, bytes], ...] = ()
    negative: bool = False


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


def pack(entry: Entry, fingerprint: bytes, *, compress_bytes: int = 0) -> bytes:
    """Return the entry as bytes; a payload of `compress_bytes` or more is compressed (0: never)."""
    flags, payload = NEGATIVE if entry.negative else 0, entry.payload
    if compress_bytes and len(payload) >= compress_bytes:
        flags, payload = flags | COMPRESSED, zlib.compress(payload, COMPRESSION_LEVEL)
    parts = [
        HEADER.pack(
            FORMAT,
            fingerprint,
            flags,
            entry.created_at,
            entry.fresh_until,
            entry.usable_until,
            entry.load_seconds,
            len(entry.tags),
        )
    ]
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
