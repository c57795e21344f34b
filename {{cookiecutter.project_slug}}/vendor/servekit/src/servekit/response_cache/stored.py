"""A response as the cache keeps it, and how it is written for Redis."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from servekit.cache.codecs import Codec
from servekit.cache.entries import ENTRY_BYTES, CachePolicy, Entry, LocalEntry
from servekit.layers.http_headers import Headers, header_value
from servekit.response_cache.rfc9111 import Lifetimes

HEADER = struct.Struct(">HddddI")
FINGERPRINT = b"http-1"
HEADER_BYTES = 200  # about what a field costs beside its text: a pair, two objects, a place
HEAD_BYTES = 1024  # about what the form of a head costs beside them: the fields of all layers
EARLIEST = 0.9  # entries of one moment end over a tenth of their lifetime

# What a 304 repeats (RFC 9110 15.4.5).
VALIDATORS = frozenset(
    {
        b"cache-control",
        b"cdn-cache-control",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
    }
)


@dataclass(slots=True, eq=False)
class StoredResponse:
    """A whole response; decoded once, shared by all hits: nobody changes its lists."""

    status: int
    headers: Headers
    body: bytes
    created_at: float
    lifetimes: Lifetimes
    etag: bytes = field(init=False)
    last_modified: bytes = field(init=False)
    validators: Headers = field(init=False)
    head: bytes = field(init=False)
    """The form of the whole head of a hit, once one was sent."""

    def __post_init__(self) -> None:
        self.etag = header_value(self.headers, b"etag")
        self.last_modified = header_value(self.headers, b"last-modified")
        self.head = b""
        self.validators = [item for item in self.headers if item[0] in VALIDATORS]


class ResponseCodec(Codec[StoredResponse]):
    """Writes a response as numbers, header lines and the body as it is: no base64, no pickle."""

    exact = True

    def __init__(self) -> None:
        self.fingerprint = blake2b(FINGERPRINT, digest_size=8).digest()

    def dumps(self, value: StoredResponse) -> bytes:
        """Return the response as bytes; header lines hold no line break, ASGI servers see to it."""
        lines = b"\n".join(b"%b:%b" % item for item in value.headers)
        times = value.lifetimes
        numbers = (value.created_at, times.fresh, times.while_revalidating, times.on_error)
        return HEADER.pack(value.status, *numbers, len(lines)) + lines + value.body

    def loads(self, data: bytes) -> StoredResponse:
        """Return the response, or raise ValueError."""
        try:
            status, created_at, fresh, stale, error, length = HEADER.unpack_from(data)
        except struct.error as damage:
            raise ValueError("This is no response.") from damage
        end = HEADER.size + length
        headers = [split_line(line) for line in data[HEADER.size : end].split(b"\n") if line]
        return StoredResponse(
            status, headers, data[end:], created_at, Lifetimes(fresh, stale, error)
        )


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Return name and value of a header line."""
    name, _, value = line.partition(b":")
    return name, value


class ResponsePolicy(CachePolicy):
    """Takes an entry's times from the response itself."""

    __slots__ = ()

    def entry(
        self, value: StoredResponse, tags: tuple[tuple[str, bytes], ...], load_seconds: float
    ) -> Entry:
        """Return the response as it is stored."""
        made_at, times = value.created_at, value.lifetimes
        fresh = made_at + times.fresh * random.uniform(EARLIEST, 1)  # noqa: S311 - spreads load
        usable = made_at + times.total
        return Entry(self.codec.dumps(value), made_at, fresh, usable, load_seconds, tags)

    def localize(self, entry: Entry, value: Any) -> LocalEntry:
        """Return the entry as the local tier keeps it: its body is bytes, counted once."""
        local = super().localize(entry, value)
        fields = sum(HEADER_BYTES + len(name) + len(text) for name, text in value.headers)
        local.size = ENTRY_BYTES + len(entry.payload) + fields + HEAD_BYTES
        return local
