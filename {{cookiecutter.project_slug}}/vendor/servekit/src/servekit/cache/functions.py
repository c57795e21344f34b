"""Functions whose results are cached: by the cache that declares them, or the current service's."""

from __future__ import annotations

from contextvars import ContextVar
from functools import update_wrapper
from time import monotonic
from typing import Generic, ParamSpec, TypeVar

from servekit.cache.codecs import NotEncodable
from servekit.cache.declaration import Declaration
from servekit.cache.entries import CachePolicy, CacheResult, LocalEntry
from servekit.cache.read_through import Lookup, ReadThrough
from servekit.cache.tier_writer import TierWriter
from servekit.cache.tiers import TierReader

P = ParamSpec("P")
R = TypeVar("R")


class Cached(Generic[P, R]):
    """Call it as the function: `await product(7)`.

    Callers share the value that is returned: treat it as frozen, or declare it so. It is what the
    function returned as JSON gives it back, in the types of its annotation: to the first caller as
    to all who come later, and where caches are off or bypassed.
    """

    def __init__(  # noqa: PLR0913 - the cache makes it
        self,
        declaration: Declaration[P, R],
        policy: CachePolicy,
        *,
        reader: TierReader,
        writer: TierWriter,
        engine: ReadThrough,
        bypassed: ContextVar[bool],
        enabled: bool,
    ) -> None:
        update_wrapper(self, declaration.function)
        self.function = declaration.function
        self.key = declaration.key
        self._tags = declaration.tags
        self._load = declaration.load
        self._writer = writer
        self._engine = engine
        self._bypassed = bypassed if enabled else None
        self._local = reader.local
        self._local_entry = reader.local.held.get
        self.use_policy(policy)

    def use_policy(self, policy: CachePolicy) -> None:
        """Keep results under another policy."""
        self.policy = policy
        self._codec = policy.codec
        self._stats = policy.stats

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value, cached or loaded; raise only what the function raises."""
        if self._bypassed is None or self._bypassed.get():
            return self._as_kept(await self.function(*args, **kwargs))
        key = self.key(*args, **kwargs)
        entry = self.local_hit(key)
        if entry is not None:
            value: R = entry.value
            return value
        return (await self._get_or_load(key, args, kwargs)).value

    def local_hit(self, key: str) -> LocalEntry | None:
        """Return the local entry of a key if it is a plain hit, and count that; the hot path."""
        entry = self.local_entry(key)
        if entry is not None:
            self._stats.hits_local += 1
        return entry

    def local_entry(self, key: str) -> LocalEntry | None:
        """Return the local entry of a key if it is a plain hit, uncounted."""
        entry: LocalEntry | None = self._local_entry(key, None)
        if (
            entry is not None
            and monotonic() < entry.hit_until
            and entry.codec is self._codec
            and self._local.current(entry)
        ):
            return entry
        return None

    def count_local_hit(self) -> None:
        """Count a hit of `local_entry`."""
        self._stats.hits_local += 1

    @property
    def bypassed(self) -> bool:
        """Whether calls go to the source: caches are off, or bypassed by this task."""
        return self._bypassed is None or self._bypassed.get()

    async def lookup(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R]:
        """Return the value with its state, age and tier."""
        if self.bypassed:
            return CacheResult(self._as_kept(await self.function(*args, **kwargs)), "bypass")
        return await self._get_or_load(self.key(*args, **kwargs), args, kwargs)

    async def get_cached(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R] | None:
        """Return what is cached, without calling the function."""
        if self.bypassed:
            return None
        return await self._engine.get(self.key(*args, **kwargs), self.policy)

    async def set(self, value: R, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store the value of these arguments everywhere, after the source took it.

        Of two at once, the one that reaches Redis last stays: let a lock of the source order them.
        """
        if self._bypassed is not None:
            key = self.key(*args, **kwargs)
            await self._writer.write(key, self.policy, value, self._tags_of(args, kwargs))

    async def delete(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget these arguments everywhere; call it after the source has changed."""
        if self._bypassed is not None:
            self._stats.invalidations_redis += 1
            await self._writer.remove([self.key(*args, **kwargs)])

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now and store what it returns, unless a write comes in between.

        A load that is under way already is not stored: what it read is older.
        """
        if self._bypassed is None:
            return self._as_kept(await self.function(*args, **kwargs))
        value: R = await self._engine.reload(self._lookup(self.key(*args, **kwargs), args, kwargs))
        return value

    async def replaced(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what takes the place of an entry that is not fresh, loaded once for all who ask.

        Whoever loads it already is waited for.
        """
        lookup = self._lookup(self.key(*args, **kwargs), args, kwargs)
        value: R = await self._engine.load_fresh(lookup)
        return value

    def _as_kept(self, value: R) -> R:
        codec = self._codec
        if codec.exact:
            return value
        try:
            kept: R = codec.read_back(value, codec.dumps(value))
        except NotEncodable:
            return value
        return kept

    async def _get_or_load(
        self, key: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> CacheResult[R]:
        return await self._engine.get_or_load(self._lookup(key, args, kwargs))

    def _lookup(self, key: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Lookup:
        return Lookup(key, self.policy, self._tags_of(args, kwargs), self._load(args, kwargs))

    def _tags_of(self, args: tuple[object, ...], kwargs: dict[str, object]) -> list[str]:
        return [tag if isinstance(tag, str) else tag(*args, **kwargs) for tag in self._tags]
