"""What one worker allows its clients: time, sizes, and how many connections there may be."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Sequence
from dataclasses import dataclass

KEPT_BACK = 100
"""Descriptors for stores, files and pools, which must not fail because clients took all."""


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Limits of one worker's connections; times in seconds, sizes in bytes."""

    header_seconds: float = 10
    body_seconds: float = 30
    body_bytes_per_second: int = 500
    keep_alive_seconds: float = 75
    header_bytes: int = 32_768
    header_count: int = 100
    uri_bytes: int = 8192
    connections: int = 1000
    message_bytes: int = 1_048_576
    """Largest WebSocket message; 0 for any."""


def raise_descriptor_limit() -> None:
    """Raise this process's soft limit of descriptors to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports no limit and then refuses it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limit(wanted: int) -> int:
    """Return how many connections fit under the limit of descriptors, at most as many as wanted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - KEPT_BACK, soft // 2))


def head_bytes(target: bytes, fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the size of a head that has been read, its line ends included."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in fields)
