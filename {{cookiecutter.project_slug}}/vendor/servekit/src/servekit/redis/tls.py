"""TLS to Redis: one context a worker, where redis-py reads the CA bundle for each connection."""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import Any

from redis.asyncio.connection import RedisSSLContext, SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection

FILES = ("ca_certs", "ca_path", "certfile", "keyfile")

Stamps = tuple[float, ...]

shared: dict[tuple[object, ...], tuple[Stamps, RedisSSLContext]] = {}
"""Contexts by what they are made of, with the times of their files: certificates are renewed."""


class SharedContext:
    """Makes a TLS connection take the context that others of its kind have made."""

    ssl_context: RedisSSLContext

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = share(self.ssl_context)


class TlsConnection(SharedContext, SSLConnection):
    """A connection to a server, alone or in a Cluster."""


class SentinelTlsConnection(SharedContext, SentinelManagedSSLConnection):
    """A connection to the primary that Sentinel names."""


def share(wanted: RedisSSLContext) -> RedisSSLContext:
    """Return the context of this process for what is wanted, made anew when a file has changed."""
    what = tuple(
        repr(getattr(wanted, name)) for name in RedisSSLContext.__slots__ if name != "context"
    )
    stamps = tuple(_changed_at(getattr(wanted, name)) for name in FILES)
    made_at, context = shared.get(what, ((), wanted))
    if made_at != stamps:
        shared[what] = stamps, wanted
        return wanted
    return context


def prepare(**options: Any) -> None:
    """Read the CA bundle now, in 50 ms of the loop, and not while requests wait.

    What cannot be read is the first connection's to tell.
    """
    with contextlib.suppress(OSError, ssl.SSLError):
        TlsConnection(**options).ssl_context.get()


def _changed_at(path: str | None) -> float:
    try:
        return os.stat(path).st_mtime if path else 0.0  # noqa: PTH116 - two us; a Path is ten
    except OSError:
        return 0.0
