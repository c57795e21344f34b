"""Functions that are cached by the service that runs them: `@cached(...)`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from servekit.cache.cache import Cache
from servekit.cache.declaration import NOTHING, Declaration, FunctionOptions
from servekit.cache.entries import CacheResult
from servekit.cache.functions import Cached
from servekit.context import require_current_service

P = ParamSpec("P")
R = TypeVar("R")


class ServiceCached(Generic[P, R]):
    """A function that is cached by the service that runs it; else like `Cached`.

    Raises, with every method:
        RuntimeError: No service runs it: this is no request, and no lifespan.
    """

    def __init__(self, declaration: Declaration[P, R]) -> None:
        update_wrapper(self, declaration.function)
        self.function = declaration.function
        self._declaration = declaration
        self._bound: WeakKeyDictionary[Cache, Cached[P, R]] = WeakKeyDictionary()

    def bound_to(self, cache: Cache) -> Cached[P, R]:
        """Return the function as one cache has it, for programs without a service."""
        bound = self._bound.get(cache)
        if bound is None:
            bound = self._bound[cache] = cache.bind(self._declaration)
        return bound

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value, cached or loaded; raise only what the function raises."""
        return await self._current()(*args, **kwargs)

    async def lookup(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R]:
        """Return the value with its state, age and tier."""
        return await self._current().lookup(*args, **kwargs)

    async def get_cached(self, *args: P.args, **kwargs: P.kwargs) -> CacheResult[R] | None:
        """Return what is cached, without calling the function."""
        return await self._current().get_cached(*args, **kwargs)

    async def set(self, value: R, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store the value of these arguments everywhere, after the source took it."""
        await self._current().set(value, *args, **kwargs)

    async def delete(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget these arguments everywhere; call it after the source has changed."""
        await self._current().delete(*args, **kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now and store what it returns."""
        return await self._current().refresh(*args, **kwargs)

    def _current(self) -> Cached[P, R]:
        cache: Cache = require_current_service().cache
        return self.bound_to(cache)


def cached(  # noqa: PLR0913 - each is a choice of its own
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
) -> Callable[[Callable[P, Awaitable[R]]], ServiceCached[P, R]]:
    """Return a decorator that caches an async function under keys such as `product:{id}`.

    Key and tags are templates over the function's parameters; 1 and "1" have keys of their own. The
    type comes from the return annotation. A load outlives the call that began it, so what the key
    does not name is either opened by each load for itself (`opens`: by parameter, what returns an
    async context manager), or neither changes the result nor is closed with the request
    (`ignores`). It may take `timeout_seconds` (0: for ever; None: what the service allows). `name`
    labels the metrics (default: the key's first word); a new `version` makes old entries misses. It
    uses the cache of the service whose request or lifespan calls it.

    Raises, when the function is declared:
        TypeError: It is not async, its result does not come back from JSON as it went, or no key
            can be made of an argument's type.
        ValueError: A parameter is nowhere, or something named is no parameter.

    Raises, when it is called:
        UnstableKey: A TypeError; no key can be made of an argument.
        LoadTimeout: The load took too long, and nothing older may be served.
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

    def decorate(function: Callable[P, Awaitable[R]]) -> ServiceCached[P, R]:
        return ServiceCached(Declaration(function, options))

    return decorate
