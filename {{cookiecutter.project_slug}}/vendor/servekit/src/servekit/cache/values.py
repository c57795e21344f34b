"""Values and bytes under explicit keys, through both tiers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from servekit.cache.codecs import codec_of
from servekit.cache.entries import CachePolicy, CacheResult
from servekit.cache.metrics import CacheMetrics
from servekit.cache.read_through import ReadThrough
from servekit.cache.tier_writer import TierWriter
from servekit.cache.tiers import TierReader
from servekit.errors import StoreUnavailable

T = TypeVar("T")
D = TypeVar("D")


class Values:
    """What a cache holds under explicit keys; reads load nothing, writes never fail for Redis."""

    def __init__(
        self,
        reader: TierReader,
        writer: TierWriter,
        engine: ReadThrough,
        metrics: CacheMetrics,
        *,
        enabled: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._engine = engine
        self.metrics = metrics
        self._enabled = enabled
        self._bypassed: ContextVar[bool] = ContextVar("cache_bypassed", default=False)

    async def lookup(
        self, key: str, kind: type[T], *, name: str = "values"
    ) -> CacheResult[T] | None:
        """Return what is cached under the key with its state, age and tier; None if nothing is."""
        if self._off():
            return None
        return await self._engine.get(key, self._policy(kind, name))

    async def get(
        self, key: str, kind: type[T], default: D | None = None, *, name: str = "values"
    ) -> T | D | None:
        """Return the value under the key, stale or not, or the default."""
        result = await self.lookup(key, kind, name=name)
        return default if result is None else result.value

    async def set(  # noqa: PLR0913 - times and labels, by keyword
        self,
        key: str,
        value: T,
        *,
        ttl_seconds: float,
        kind: type[T] | None = None,
        stale_seconds: float = 0,
        local_ttl_seconds: float = 60,
        jitter: float = 0,
        tags: Sequence[str] = (),
        name: str = "values",
    ) -> None:
        """Store a value everywhere; `kind` is its type where `type(value)` does not say it.

        Of two at once, the one that reaches Redis last stays: let a lock of the source order them.

        Raises:
            TypeError: The value does not come back from JSON as one of its type.
        """
        if not self._enabled:
            return
        policy = self._policy(
            kind or type(value),
            name,
            ttl_seconds,
            stale_seconds=stale_seconds,
            local_ttl_seconds=local_ttl_seconds,
            jitter=jitter,
        )
        await self._writer.write(key, policy, value, tags)

    async def get_many(
        self, keys: Iterable[str], kind: type[T], *, name: str = "values"
    ) -> dict[str, T]:
        """Return the values that are cached under the keys.

        That is one round trip, and two where values have tags.
        """
        if self._off():
            return {}
        policy, local = self._policy(kind, name), self._reader.local
        entries = {key: local.get_current(key, policy.codec) for key in dict.fromkeys(keys)}
        missing = [key for key, entry in entries.items() if entry is None]
        policy.stats.hits_local += len(entries) - len(missing)
        policy.stats.misses_local += len(missing)
        if missing:
            try:
                fetched = await self._reader.fetch_many(missing, policy)
            except StoreUnavailable:
                entries |= {key: local.get_usable(key, policy.codec) for key in missing}
            else:
                policy.stats.hits_redis += len(fetched)
                policy.stats.misses_redis += len(missing) - len(fetched)
                entries |= fetched
        return {key: entry.value for key, entry in entries.items() if entry is not None}

    async def set_many(  # noqa: PLR0913 - the same
        self,
        values: Mapping[str, T],
        *,
        ttl_seconds: float,
        kind: type[T] | None = None,
        local_ttl_seconds: float = 60,
        jitter: float = 0.1,
        tags: Sequence[str] = (),
        name: str = "values",
    ) -> None:
        """Store values of one type in one round trip."""
        if not values or not self._enabled:
            return
        policy = self._policy(
            kind or type(next(iter(values.values()))),
            name,
            ttl_seconds,
            local_ttl_seconds=local_ttl_seconds,
            jitter=jitter,
        )
        await self._writer.write_many(dict(values), policy, tags)

    async def lookup_bytes(self, key: str, *, name: str = "bytes") -> CacheResult[bytes] | None:
        """Return the bytes under the key with their state, age and tier; callers share them."""
        return await self.lookup(key, bytes, name=name)

    async def get_bytes(self, key: str, *, name: str = "bytes") -> bytes | None:
        """Return the bytes under the key while they are fresh."""
        result = await self.lookup(key, bytes, name=name)
        return result.value if result is not None and result.state == "hit" else None

    async def set_bytes(  # noqa: PLR0913 - the same
        self,
        key: str,
        value: bytes,
        *,
        ttl_seconds: float,
        stale_seconds: float = 0,
        local_ttl_seconds: float = 60,
        tags: Sequence[str] = (),
        name: str = "bytes",
    ) -> None:
        """Store bytes as they are."""
        await self.set(
            key,
            value,
            ttl_seconds=ttl_seconds,
            kind=bytes,
            stale_seconds=stale_seconds,
            local_ttl_seconds=local_ttl_seconds,
            tags=tags,
            name=name,
        )

    def _off(self) -> bool:
        return not self._enabled or self._bypassed.get()

    def _policy(  # noqa: PLR0913 - as a policy has
        self,
        kind: Any,
        name: str,
        ttl_seconds: float = 0,
        *,
        stale_seconds: float = 0,
        local_ttl_seconds: float = math.inf,
        jitter: float = 0,
    ) -> CachePolicy:
        return CachePolicy(
            name,
            codec_of(kind),
            self.metrics.stats(name),
            ttl_seconds,
            stale_seconds,
            None,
            local_ttl_seconds,
            jitter,
        )
