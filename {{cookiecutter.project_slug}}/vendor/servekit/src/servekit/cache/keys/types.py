"""Which types of arguments a key can be made of: said when the function is declared."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
    Set as AbstractSet,
)
from enum import Enum
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from servekit.cache.keys.text import MOMENTS, PRIMITIVES, TEXTUAL, WRITERS

CONTAINERS = {Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence, AbstractSet}
"""Abstract types of what is made of parts that must be stable too."""

NEVER = (AsyncIterable, Awaitable, Iterator)
"""Abstract types of nothing that has a stable text."""


def annotations_of(function: Any) -> dict[str, Any]:
    """Return the types of a function's parameters as far as they exist at run time."""
    call = function if inspect.isroutine(function) else type(function).__call__
    given = dict(getattr(inspect.unwrap(call), "__annotations__", {}))
    return {name: _resolved(name, given[name], call) for name in given}


def unstable_part(annotation: Any) -> Any:
    """Return the part of a type that no key can be made of; None if there is none, or none known.

    What only the call knows (`Any`, protocols, abstract and unresolved types) is checked there.
    """
    return next(_unstable(annotation, set()), None)


def _resolved(name: str, annotation: Any, function: Any) -> Any:
    def bearer() -> None: ...

    bearer.__annotations__ = {name: annotation}
    function = inspect.unwrap(getattr(function, "__func__", function))
    try:
        closure = dict(inspect.getclosurevars(function).nonlocals)
        return get_type_hints(bearer, function.__globals__, closure)[name]
    except Exception:  # noqa: BLE001 - a name for type checkers only, or no type at all
        return Any


def _unstable(annotation: Any, seen: set[Any]) -> Iterator[Any]:
    origin = get_origin(annotation)
    if isinstance(annotation, TypeVar):
        yield from _unstable(annotation.__bound__ or Any, seen)
    elif isinstance(annotation, NewType):
        yield from _unstable(annotation.__supertype__, seen)
    elif origin in {Union, types.UnionType} or _is_container(origin):
        for part in get_args(annotation):
            yield from _unstable(part, seen)
    elif origin is Literal or annotation in {Any, None, ..., object}:
        return
    elif hasattr(annotation, "__metadata__"):
        yield from _unstable(annotation.__origin__, seen)
    else:
        yield from _unstable_class(origin or annotation, seen)


def _is_container(origin: Any) -> bool:
    return isinstance(origin, type) and (origin in WRITERS or origin in CONTAINERS)


def _unstable_class(kind: Any, seen: set[Any]) -> Iterator[Any]:
    if not isinstance(kind, type) or kind in seen:
        return
    seen.add(kind)
    if issubclass(kind, BaseModel):
        for model_field in kind.model_fields.values():
            yield from _unstable(model_field.annotation, seen)
    elif dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        for annotation in _hints(kind).values():
            yield from _unstable(annotation, seen)
    elif not _is_stable(kind) and not _is_abstract(kind):
        yield kind


def _hints(kind: type) -> Mapping[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - as above
        return {}


def _is_stable(kind: type) -> bool:
    return kind in WRITERS or issubclass(kind, (Enum, *MOMENTS, *TEXTUAL, *PRIMITIVES))


def _is_abstract(kind: Any) -> bool:
    if issubclass(kind, NEVER) or kind is Callable:
        return False
    named = inspect.isabstract(kind) or kind.__module__ in {"collections.abc", "typing"}
    return named or bool(getattr(kind, "_is_protocol", False))
