"""Functions whose results are cached: by the cache that declares them, or the current service's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import update_wrapper
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints

from servekit.cache.entries import CachePolicy, CacheResult, Codec, LocalEntry, codec_of
from servekit.cache.keys import key_maker
from servekit.cache.metrics import CacheStats
from servekit.cache.read_through import Lookup, ReadThrough
from servekit.cache.tiers import TierReader, TierWriter

if TYPE_CHECKING:
    pass

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionOptions:
    """How a function is cached, as `cached` says it."""

    key: str
    ttl_seconds: float
    stale_seconds: float
    negative_ttl_seconds: float | None
    local_ttl_seconds: float
    jitter: float
    name: str
    tags: Sequence[str]
    version: str


class Declaration(Generic[P, R]):
    """An async function and how it is cached, checked: any cache can bind it.

    Raises:
        TypeError: It is not async, or its return type does not exist at run time, or no JSON can
            be made of that.
        ValueError: Key or tags name what is no parameter.
    """

    def __init__(self, function: Callable[P, Awaitable[R]], options: FunctionOptions) -> None:
        if not is_async(function):
            raise TypeError(f"{function!r} is not async: `async def` it, or call it in a thread.")
        self.function = function
        self.options = options
        self.name = options.name or options.key.split(":", maxsplit=1)[0]
        self.codec: Codec[R] = codec_of(return_type(function), options.version)
        self.key: Callable[P, str] = key_maker(options.key, function)
        self.tags = [key_maker(tag, function) if "{" in tag else tag for tag in options.tags]

    def policy(self, stats: CacheStats, *, compress_bytes: int) -> CachePolicy:
        """Return the policy under which one cache keeps the results."""
        options = self.options
        return CachePolicy(
            self.name,
            self.codec,
            stats,
            options.ttl_seconds,
            options.stale_seconds,
            options.negative_ttl_seconds,
            options.local_ttl_seconds,
            options.jitter,
            compress_bytes,
        )


class Cached(Generic[P, R]):
    """Call it as the function: `await product(7)`.

    Callers share the value that is returned: treat it as frozen, or declare it so. A value that was
    read back is equal to what the function returned, in the types of its annotation.
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
        self._writer = writer
        self._engine = engine
        self._bypassed = bypassed if enabled else None
        self._local = reader.local
        self._local_entry = reader.local.entries.get
        self.use_policy(policy)

    def use_policy(self, policy: CachePolicy) -> None:
        """Keep results under another policy."""
        self.policy = policy
        self._codec = policy.codec
        self._stats = policy.stats

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value, cached or loaded; raise only what the function raises."""
        if self._bypassed is None or self._bypassed.get():
            return await self.function(*args, **kwargs)
        key = self.key(*args, **kwargs)
        entry = self.local_hit(key)
        if entry is not None:
            value: R = entry.value
            return value
        return (await self._get_or_load(key, args, kwargs)).value

    def local_hit(self, key: str) -> LocalEntry | None:
        """Return the local entry of a key if it is a plain hit; the hot path."""
        entry = self._local_entry(key, None)
        if (
            entry is not None
            and monotonic() < entry.hit_until
            and entry.codec is self._codec
            and self._local.current(entry)
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
        if self.bypassed:
            return CacheResult(await self.function(*args, **kwargs), "bypass")
        return await self._get_or_load(self.key(*args, **kwargs), args, kwargs)

    async def get_cached(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R] | None:
        """Return what is cached, without calling the function."""
        if self.bypassed:
            return None
        return await self._engine.get(self.key(*args, **kwargs), self.policy)

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

    async def _get_or_load(
        self, key: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> CacheResult[R]:
        function: Callable[..., Awaitable[R]] = self.function
        tags = self._tags_of(args, kwargs)
        return await self._engine.get_or_load(
            Lookup(key, self.policy, tags, lambda: function(*args, **kwargs))
        )

    def _tags_of(self, args: tuple[object, ...], kwargs: dict[str, object]) -> list[str]:
        return [tag if isinstance(tag, str) else tag(*args, **kwargs) for tag in self._tags]


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling a function, or an object, gives something to await."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object's own method
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def return_type(function: Callable[..., Any]) -> Any:
    """Return the type that the function says it returns; Any if it says nothing.

    Only the return annotation must exist at run time, not those of the parameters.

    Raises:
        TypeError: It does not, as names imported under TYPE_CHECKING.
    """

    def returning() -> None: ...

    returning.__annotations__ = {"return": function.__annotations__.get("return", Any)}
    closure = dict(inspect.getclosurevars(function).nonlocals)
    try:
        return get_type_hints(returning, function.__globals__, closure)["return"]
    except NameError as error:
        raise TypeError(
            f"The return type of {function.__qualname__} must be importable at run time: {error}."
        ) from error
