"""Content codings: which one a client wants, and an encoder for it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import brotli  # type: ignore[import-untyped] # has no stubs
import zstandard

GZIP_WINDOW = 31
"""zlib's largest window, plus the gzip wrapper."""


class Encoder(Protocol):
    """A stream of one coding; `flush` makes all input so far readable by the client."""

    def encode(self, data: bytes, *, flush: bool) -> bytes:
        """Return what is ready after `data`."""

    def finish(self) -> bytes:
        """Return the rest."""


class ZstdEncoder:
    """Zstandard at level 1: a quarter of gzip's time for the same size."""

    def __init__(self) -> None:
        self.stream = zstandard.ZstdCompressor(level=1).compressobj()

    def encode(self, data: bytes, *, flush: bool) -> bytes:
        encoded = self.stream.compress(data)
        return encoded + self.stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if flush else encoded

    def finish(self) -> bytes:
        return self.stream.flush()


class BrotliEncoder:
    """Brotli at quality 1: a tenth larger than at 4 in a third of its time."""

    def __init__(self) -> None:
        self.stream = brotli.Compressor(quality=1)

    def encode(self, data: bytes, *, flush: bool) -> bytes:
        encoded: bytes = self.stream.process(data)
        return encoded + self.stream.flush() if flush else encoded

    def finish(self) -> bytes:
        rest: bytes = self.stream.finish()
        return rest


class GzipEncoder:
    """Gzip at level 4, for clients that know nothing newer."""

    def __init__(self) -> None:
        self.stream = zlib.compressobj(4, zlib.DEFLATED, GZIP_WINDOW)

    def encode(self, data: bytes, *, flush: bool) -> bytes:
        encoded = self.stream.compress(data)
        return encoded + self.stream.flush(zlib.Z_SYNC_FLUSH) if flush else encoded

    def finish(self) -> bytes:
        return self.stream.flush()


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "zstd": ZstdEncoder,
    "br": BrotliEncoder,
    "gzip": GzipEncoder,
}
"""Codings in the order of our preference."""


@lru_cache(maxsize=256)
def negotiate(accept_encoding: str) -> str | None:
    """Return the coding that a client likes best, ours first among equals; None for identity."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = weight(parameters)
    other = weights.get("*", 0.0)
    best = max(ENCODERS, key=lambda name: weights.get(name, other))
    return best if weights.get(best, other) > 0 else None


def weight(parameters: list[str]) -> float:
    """Return the q of an item of Accept-Encoding; a bad one refuses the coding."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
