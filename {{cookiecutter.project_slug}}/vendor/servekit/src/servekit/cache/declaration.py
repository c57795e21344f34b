"""What is declared of a cached function, checked where it stands: key, type, times, resources."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from servekit.cache.codecs import Codec, codec_of
from servekit.cache.entries import CachePolicy
from servekit.cache.keys.templates import key_maker, name_of, parameters_of, tag_maker
from servekit.cache.metrics import CacheStats

P = ParamSpec("P")
R = TypeVar("R")

Opens = Mapping[str, Callable[[], AbstractAsyncContextManager[Any]]]

NOTHING: Opens = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionOptions:
    """How a function is cached, as `cached` says it."""

    key: str
    ttl_seconds: float
    stale_seconds: float
    negative_ttl_seconds: float | None
    local_ttl_seconds: float
    timeout_seconds: float | None
    jitter: float
    name: str
    tags: Sequence[str]
    version: str
    opens: Opens
    ignores: Sequence[str]


class Declaration(Generic[P, R]):
    """An async function and how it is cached, checked: any cache can bind it.

    Raises:
        TypeError: It is not async, or its return type does not exist at run time or does not come
            back from JSON as it went, or no key can be made of an argument's type.
        ValueError: Key or tags name what is no parameter, or a parameter is in none of the key,
            `opens` and `ignores`.
    """

    def __init__(self, function: Callable[P, Awaitable[R]], options: FunctionOptions) -> None:
        if not is_async(function):
            raise TypeError(f"{function!r} is not async: `async def` it, or call it in a thread.")
        self.function = function
        self.options = options
        self.name = options.name or options.key.split(":", maxsplit=1)[0]
        self.codec: Codec[R] = codec_of(return_type(function), options.version)
        self.key: Callable[P, str] = key_maker(options.key, function)
        self.tags = [tag_maker(tag, function) if "{" in tag else tag for tag in options.tags]
        self._signature = inspect.signature(function)
        self._check_the_rest()

    def policy(self, stats: CacheStats, *, timeout_seconds: float) -> CachePolicy:
        """Return the policy under which one cache keeps the results."""
        options = self.options
        own = options.timeout_seconds
        return CachePolicy(
            self.name,
            self.codec,
            stats,
            options.ttl_seconds,
            options.stale_seconds,
            options.negative_ttl_seconds,
            options.local_ttl_seconds,
            options.jitter,
            timeout_seconds if own is None else own,
        )

    def load(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Callable[[], Awaitable[R]]:
        """Return the load of a call: it goes on when the call is over, with what it opened."""
        function: Callable[..., Awaitable[R]] = self.function
        if not self.options.opens:
            return lambda: function(*args, **kwargs)

        async def load() -> R:
            bound = self._signature.bind_partial(*args, **kwargs)
            async with AsyncExitStack() as stack:
                for name, open_one in self.options.opens.items():
                    bound.arguments[name] = await stack.enter_async_context(open_one())
                return await function(*bound.args, **bound.kwargs)

        return load

    def _check_the_rest(self) -> None:
        """Ask of every parameter what it is to a load that outlives its caller."""
        name, options = name_of(self.function), self.options
        in_key, parameters = parameters_of(options.key), set(self._signature.parameters)
        if first := {"self", "cls"} & {*itertools.islice(self._signature.parameters, 1)}:
            raise ValueError(
                f"{name} has {min(first)!r} and so is a method, which cannot be cached: write a "
                "function that takes what it needs."
            )
        for said in (*options.opens, *options.ignores):
            if said not in parameters:
                raise ValueError(f"{name} has no parameter {said!r} to open or to ignore.")
            if said in in_key:
                raise ValueError(f"{name}: {said!r} is in the key {options.key!r}, so it counts.")
        for left in sorted(parameters - in_key - {*options.opens, *options.ignores}):
            raise ValueError(
                f"{name}: {left!r} is not in the key {options.key!r}, and a load outlives the call "
                f"that began it. Name it in the key; or have each load open its own, "
                f'`opens={{"{left}": …}}`; or, if it neither changes the result nor is closed with '
                f'the request, say `ignores=("{left}",)`.'
            )


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
