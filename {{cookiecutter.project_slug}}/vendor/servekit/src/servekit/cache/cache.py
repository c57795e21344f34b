"""The cache: a local tier that is kept coherent, over Redis, for functions, values and bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from prometheus_client import CollectorRegistry

from servekit.cache.coherence import Coherence
from servekit.cache.declaration import NOTHING, Declaration, FunctionOptions
from servekit.cache.functions import Cached
from servekit.cache.keys.space import KeySpace
from servekit.cache.metrics import CacheMetrics
from servekit.cache.read_through import ReadThrough
from servekit.cache.redis_tier import RedisTier
from servekit.cache.single_flight import Leases
from servekit.cache.tier_writer import TierWriter
from servekit.cache.tiers import TierReader
from servekit.cache.values import Values
from servekit.event_log import get_logger
from servekit.redis.clients import RedisClients

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger()


class Cache(Values):
    """A cache over `clients.cache`; no method of it raises for want of Redis.

    While Redis is away, values that this process has are served stale until their hard end, loads
    run, and removals are sent later. `enabled=False` sends every call to its source. Keys begin
    with the namespace of the clients and `prefix`; a load may take `timeout_seconds` (0: for ever),
    and `warm` takes `warm_seconds`.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own
        self,
        clients: RedisClients,
        *,
        prefix: str = "cache",
        enabled: bool = True,
        local_bytes: int = 32 * 2**20,
        lease_seconds: float = 10,
        timeout_seconds: float = 30,
        warm_seconds: float = 5,
        registry: CollectorRegistry | None = None,
    ) -> None:
        keys = KeySpace(clients.prefix(prefix))
        redis = RedisTier(clients, keys, lease_seconds=lease_seconds)
        self._coherence = Coherence(clients, redis, keys, local_bytes=local_bytes)
        local = self._coherence.local
        reader = TierReader(redis, local, self._coherence.outbox.holds)
        writer = TierWriter(redis, reader, self._coherence)
        self._leases = Leases(redis, seconds=lease_seconds)
        self._timeout_seconds = timeout_seconds
        self._warm_seconds = warm_seconds
        engine = ReadThrough(reader, writer, self._coherence, self._leases)
        metrics = CacheMetrics(
            channel_up=(lambda: self.coherent) if enabled else None,
            local_bytes=lambda: local.size_bytes,
        )
        if registry is not None:
            registry.register(metrics)
        super().__init__(reader, writer, engine, metrics, enabled=enabled)

    async def __aenter__(self) -> Self:
        if self._enabled:
            await self._coherence.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._writer.close()
        await self._coherence.__aexit__(kind, error, trace)
        await self._engine.close()
        await self._leases.close()

    @property
    def coherent(self) -> bool:
        """Whether the local tier is in use: other processes' writes are heard of."""
        return self._coherence.channel_up

    def cached(  # noqa: PLR0913 - each is a choice of its own
        self,
        key: str,
        *,
        ttl_seconds: float,
        stale_seconds: float = 0,
        negative_ttl_seconds: float | None = None,
        local_ttl_seconds: float = 60,
        timeout_seconds: float | None = None,
        jitter: float = 0.1,
        name: str = "",
        tags: Sequence[str] = (),
        version: str = "",
        opens: Mapping[str, Callable[[], AbstractAsyncContextManager[Any]]] = NOTHING,
        ignores: Sequence[str] = (),
    ) -> Callable[[Callable[P, Awaitable[R]]], Cached[P, R]]:
        """Return a decorator that caches an async function in this cache.

        It is `servekit.cache.cached`, for a cache that is at hand where the function is declared.
        """
        options = FunctionOptions(
            key=key,
            ttl_seconds=ttl_seconds,
            stale_seconds=stale_seconds,
            negative_ttl_seconds=negative_ttl_seconds,
            local_ttl_seconds=local_ttl_seconds,
            timeout_seconds=timeout_seconds,
            jitter=jitter,
            name=name,
            tags=tags,
            version=version,
            opens=opens,
            ignores=ignores,
        )

        def decorate(function: Callable[P, Awaitable[R]]) -> Cached[P, R]:
            return self.bind(Declaration(function, options))

        return decorate

    def bind(self, declaration: Declaration[P, R]) -> Cached[P, R]:
        """Return a declared function, cached here."""
        stats = self.metrics.stats(declaration.name)
        return Cached(
            declaration,
            declaration.policy(stats, timeout_seconds=self._timeout_seconds),
            reader=self._reader,
            writer=self._writer,
            engine=self._engine,
            bypassed=self._bypassed,
            enabled=self._enabled,
        )

    async def delete(self, *keys: str, name: str = "values") -> None:
        """Remove keys everywhere."""
        if self._enabled and keys:
            self.metrics.stats(name).invalidations_redis += len(keys)
            await self._writer.remove(keys)

    async def delete_pattern(self, pattern: str, *, name: str = "values") -> int:
        """Remove the keys that match a glob such as `product:*`; return how many there were.

        It walks all keys of Redis in steps, twice: for few keys and for operators; routes use tags.
        A load that is under way is not stored.
        """
        if not self._enabled:
            return 0
        removed = await self._writer.remove_pattern(pattern)
        self.metrics.stats(name).invalidations_redis += removed
        return removed

    async def invalidate_tag(self, *tags: str, name: str = "tags") -> None:
        """Make misses of all entries with a tag, in one command each, however many they are."""
        if self._enabled:
            self.metrics.stats(name).invalidations_redis += len(tags)
            for tag in tags:
                await self._writer.remove_tag(tag)

    @contextlib.contextmanager
    def bypass(self) -> Iterator[None]:
        """Send reads of this task, and of tasks it starts, to their sources; writes go on."""
        token = self._bypassed.set(True)
        try:
            yield
        finally:
            self._bypassed.reset(token)

    async def warm(
        self,
        loads: Iterable[Callable[[], Awaitable[object]]],
        *,
        timeout_seconds: float | None = None,
    ) -> bool:
        """Run loads together; return whether all ended well in time. Failures are logged.

        They have CACHE_WARM_SECONDS, or `timeout_seconds`.
        """
        limit = self._warm_seconds if timeout_seconds is None else timeout_seconds
        tasks = {asyncio.ensure_future(load()) for load in loads}
        if not tasks:
            return True
        done, late = await asyncio.wait(tasks, timeout=limit)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        errors = [repr(error) for task in done if (error := task.exception()) is not None]
        if errors or late:
            log.warning("cache_not_warm", late=len(late), failed=len(errors), errors=errors[:3])
        return not errors and not late
