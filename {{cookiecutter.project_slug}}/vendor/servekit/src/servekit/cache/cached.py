"""A function whose results are cached, as `Cache.cached` makes it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import update_wrapper
from time import monotonic
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from servekit.cache.keys import key_maker
from servekit.cache.local_tier import LocalEntry
from servekit.cache.policy import CacheResult, Policy
from servekit.cache.read_through import ReadThrough, Request
from servekit.cache.tier_reader import TierReader
from servekit.cache.tier_writer import TierWriter

P = ParamSpec("P")
R = TypeVar("R")


def return_type(function: Callable[..., Any]) -> Any:
    """Return the type that the function says it returns; Any if it says nothing.

    Only the return annotation must exist at run time, not those of the parameters.

    Raises:
        TypeError: It does not, as names imported under TYPE_CHECKING.
    """

    def only() -> None: ...

    only.__annotations__ = {"return": function.__annotations__.get("return", Any)}
    near = inspect.getclosurevars(function).nonlocals
    try:
        return get_type_hints(only, function.__globals__, {**near})["return"]
    except NameError as error:
        raise TypeError(
            f"The return type of {function.__qualname__} must be importable at run time: {error}."
        ) from error


class Cached(Generic[P, R]):
    """Call it as the function: `await product(7)`.

    Callers share the value that is returned: treat it as frozen, or declare it so. A value that was
    read back is equal to what the function returned, in the types of its annotation.
    """

    def __init__(  # noqa: PLR0913 - the cache makes it
        self,
        function: Callable[P, Awaitable[R]],
        *,
        key: str,
        tags: Sequence[str],
        policy: Policy,
        reader: TierReader,
        writer: TierWriter,
        engine: ReadThrough,
        bypassed: ContextVar[bool],
        enabled: bool,
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.policy = policy
        self.key: Callable[P, str] = key_maker(key, function)
        self._tags = [key_maker(tag, function) if "{" in tag else tag for tag in tags]
        self._writer = writer
        self._engine = engine
        self._bypassed = bypassed if enabled else None
        self._local = reader.local
        self._entry = reader.local.entries.get
        self._codec = policy.codec
        self._stats = policy.stats

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value, cached or loaded; raise only what the function raises."""
        if self._bypassed is None or self._bypassed.get():
            return await self.function(*args, **kwargs)
        key = self.key(*args, **kwargs)
        entry = self.near(key)
        if entry is not None:
            value: R = entry.value
            return value
        return (await self._lookup(key, args, kwargs)).value

    def near(self, key: str) -> LocalEntry | None:
        """Return the local entry of a key if it is a plain hit; the hot path."""
        entry = self._entry(key, None)
        if (
            entry is not None
            and monotonic() < entry.good_until
            and entry.codec is self._codec
            and self._local.trusted(entry)
        ):
            self._stats.hits_local += 1
            return entry
        return None

    @property
    def bypassed(self) -> bool:
        """Whether calls go to the source: caches are off, or bypassed by this task."""
        return self._bypassed is None or self._bypassed.get()

    async def lookup(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R]:
        """Return the value with its state, age and tier."""
        if self._bypassed is None or self._bypassed.get():
            return CacheResult(await self.function(*args, **kwargs), "bypass")
        return await self._lookup(self.key(*args, **kwargs), args, kwargs)

    async def get_cached(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R] | None:
        """Return what is cached, without calling the function."""
        if self._bypassed is None or self._bypassed.get():
            return None
        return await self._engine.find(self.key(*args, **kwargs), self.policy)

    async def set(self, value: R, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store the value of these arguments everywhere, after the source took it."""
        if self._bypassed is not None:
            key = self.key(*args, **kwargs)
            await self._writer.write(key, self.policy, value, self._tags_of(args, kwargs))

    async def delete(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget these arguments everywhere; call it after the source has changed."""
        if self._bypassed is not None:
            self._stats.invalidations_redis += 1
            await self._writer.remove([self.key(*args, **kwargs)])

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now and store what it returns."""
        value = await self.function(*args, **kwargs)
        await self.set(value, *args, **kwargs)
        return value

    async def _lookup(
        self, key: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> CacheResult[R]:
        function: Callable[..., Awaitable[R]] = self.function
        tags = self._tags_of(args, kwargs)
        return await self._engine.lookup(
            Request(key, self.policy, tags, lambda: function(*args, **kwargs))
        )

    def _tags_of(self, args: tuple[object, ...], kwargs: dict[str, object]) -> list[str]:
        return [tag if isinstance(tag, str) else tag(*args, **kwargs) for tag in self._tags]
