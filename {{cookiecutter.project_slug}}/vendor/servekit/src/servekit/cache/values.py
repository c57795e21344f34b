"""Values and bytes under explicit keys, through both tiers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from servekit.cache.encoding import BytesCodec, Codec
from servekit.cache.metrics import CacheMetrics
from servekit.cache.policy import CacheResult, Policy
from servekit.cache.read_through import ReadThrough
from servekit.cache.tier_reader import TierReader
from servekit.cache.tier_writer import TierWriter
from servekit.errors import StoreUnavailable

T = TypeVar("T")
D = TypeVar("D")


class Values:
    """What a cache holds under explicit keys; reads load nothing, writes never fail for Redis."""

    def __init__(  # noqa: PLR0913 - the cache makes it
        self,
        reader: TierReader,
        writer: TierWriter,
        engine: ReadThrough,
        metrics: CacheMetrics,
        *,
        enabled: bool,
        compress_bytes: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._engine = engine
        self._metrics = metrics
        self._enabled = enabled
        self._compress_bytes = compress_bytes
        self._codecs: dict[object, Codec[Any]] = {(bytes, ""): BytesCodec()}
        self._bypassed: ContextVar[bool] = ContextVar("cache_bypassed", default=False)

    async def lookup(
        self, key: str, kind: type[T], *, name: str = "values"
    ) -> CacheResult[T] | None:
        """Return what is cached under the key with its state, age and tier; None if nothing is."""
        if self._off():
            return None
        return await self._engine.find(key, self._policy(kind, name))

    async def get(
        self, key: str, kind: type[T], default: D | None = None, *, name: str = "values"
    ) -> T | D | None:
        """Return the value under the key, stale or not, or the default."""
        found = await self.lookup(key, kind, name=name)
        return default if found is None else found.value

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
        """Store a value everywhere; `kind` is its type where `type(value)` does not say it."""
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
        """Return the values that are cached under the keys, in at most one round trip."""
        policy, found, missing = self._policy(kind, name), {}, []
        if self._off():
            return {}
        for key in dict.fromkeys(keys):
            entry = self._reader.near(key, policy)
            if entry is None:
                missing.append(key)
            else:
                found[key] = entry.value
        policy.stats.hits_local += len(found)
        policy.stats.misses_local += len(missing)
        if missing:
            try:
                fetched = await self._reader.fetch_many(missing, policy)
            except StoreUnavailable:
                left = {key: self._reader.left(key, policy) for key in missing}
                return found | {key: entry.value for key, entry in left.items() if entry}
            policy.stats.hits_redis += len(fetched)
            policy.stats.misses_redis += len(missing) - len(fetched)
            found |= {key: entry.value for key, entry in fetched.items()}
        return found

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
        kinds = kind or type(next(iter(values.values())))
        policy = self._policy(
            kinds, name, ttl_seconds, local_ttl_seconds=local_ttl_seconds, jitter=jitter
        )
        await self._writer.write_many(dict(values), policy, tags)

    async def lookup_bytes(self, key: str, *, name: str = "bytes") -> CacheResult[bytes] | None:
        """Return the bytes under the key with their state, age and tier; callers share them."""
        return await self.lookup(key, bytes, name=name)

    async def get_bytes(self, key: str, *, name: str = "bytes") -> bytes | None:
        """Return the bytes under the key while they are fresh."""
        found = await self.lookup(key, bytes, name=name)
        return found.value if found is not None and found.state == "hit" else None

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

    def _codec(self, kind: Any, version: str = "") -> Codec[Any]:
        """Return the one codec of the type: local entries are told apart by it."""
        codec = self._codecs.get((kind, version))
        if codec is None:
            codec = self._codecs[kind, version] = Codec(kind, version=version)
        return codec

    def _policy(  # noqa: PLR0913 - as a policy has
        self,
        kind: Any,
        name: str,
        ttl_seconds: float = 0,
        *,
        stale_seconds: float = 0,
        local_ttl_seconds: float = math.inf,
        jitter: float = 0,
    ) -> Policy:
        return Policy(
            name,
            self._codec(kind),
            self._metrics.stats(name),
            ttl_seconds,
            stale_seconds,
            None,
            local_ttl_seconds,
            jitter,
            self._compress_bytes,
        )
