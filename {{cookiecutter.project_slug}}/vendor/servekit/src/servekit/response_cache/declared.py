"""What a cached route declares of a request, and so what is in its key; what it may not declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from string import Formatter
from typing import Any, get_args

from fastapi.security.base import SecurityBase
from pydantic import AliasChoices, AliasPath, BaseModel

from servekit.cache.dependencies import CacheResponse
from servekit.routing.routes import Entry, walk

ALL = "*"
"""Stands among the names of a place for every name that a request may have there."""


NEGOTIATION = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "origin"}
)
"""Headers that tell what a client takes and from where it asks, and never who asks."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The names of a request's fields that are in a route's key; headers in lower case."""

    headers: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()
    query: frozenset[str] = frozenset()

    is_personal: bool = False
    """Whether the key holds what may say who asks: caches outside must not share such pages."""

    def has(self, field: str) -> bool:
        """Return whether a field, in the words of `vary=`, is in the key."""
        place, _, name = field.rpartition(":")
        if not place:
            return ALL in self.cookies if name == "cookie" else name in self.headers
        return not {name, ALL}.isdisjoint(self.cookies if place == "cookie" else self.query)


def declared_by(dependant: Any, policy: CacheResponse) -> Declared:
    """Return what a route, its dependencies and `vary=` declare."""
    headers, cookies, query = set[str](), set[str](), set[str]()
    for part in walk(dependant):
        for field in part.header_params:
            headers |= {name.lower() for name in names_of(field, header=True)}
        for field in part.cookie_params:
            cookies |= names_of(field)
        for field in part.query_params:
            query |= names_of(field)
    for item in policy.vary:
        place, _, name = item.rpartition(":")
        if not place and name.lower() == "cookie":
            cookies.add(ALL)
        else:
            {"": headers, "cookie": cookies, "query": query}[place].add(
                name if place else name.lower()
            )
    if "cookie" in headers:  # the whole field, declared as a header
        cookies.add(ALL)
        headers.discard("cookie")
    secured = any(security_fields(part.call) for part in walk(dependant))
    # Not all caches honour Vary, and an API's key may come in a header of any name; but whoever
    # says for how long a CDN keeps an answer has said that it may.
    unusual = policy.cdn_seconds is None and not headers <= NEGOTIATION
    personal = bool(cookies) or "authorization" in headers or secured or unusual
    return Declared(frozenset(headers - {ALL}), frozenset(cookies), frozenset(query), personal)


def names_of(field: Any, *, header: bool = False) -> set[str]:
    """Return all names under which FastAPI may look for a parameter, or for a model's fields."""
    names, models = set[str](), list(models_in(field.field_info.annotation))
    if not models:
        names |= {field.alias} | choices(field.field_info.validation_alias)
    for model in models:
        config = model.model_config
        if config.get("extra") in {"allow", "forbid"}:
            names.add(ALL)
        for name, info in model.model_fields.items():
            names |= {info.alias or name} | choices(info.validation_alias)
            if config.get("populate_by_name") or config.get("validate_by_name"):
                names.add(name)
    return names | {name.replace("_", "-") for name in names} if header else names


def choices(alias: str | AliasChoices | AliasPath | None) -> set[str]:
    """Return the names that an alias stands for."""
    if isinstance(alias, AliasChoices):
        return set().union(*(choices(choice) for choice in alias.choices))
    if isinstance(alias, AliasPath):
        return {str(alias.path[0])}
    return {alias} if alias else set()


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation names, those in unions too."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def problems(
    entry: Entry,
    policy: CacheResponse,
    never_kept: Collection[Callable[..., Any]],
) -> Iterator[str]:
    """Yield what forbids to cache a route's answers, each with the remedy.

    `never_kept` are dependencies whose answers are for one caller.
    """
    unsafe = sorted(set(entry.methods) - {"GET", "HEAD"})
    if unsafe or not entry.methods:
        kind = ", ".join(unsafe) or "a WebSocket"
        yield f"cache_response is for GET, not for {kind}; let the GET routes depend on it"
        return
    for tag in policy.tags:
        for _, name, _, _ in Formatter().parse(tag):
            if name and name not in entry.convertors:
                yield f"the tag {tag!r} names {name!r}, which is no parameter of the path"
    declared = declared_by(entry.dependant, policy)
    for part in walk(entry.dependant):
        yield from dependency_problems(part, declared, never_kept)


def dependency_problems(
    part: Any, declared: Declared, never_kept: Collection[Callable[..., Any]]
) -> Iterator[str]:
    """Yield what is wrong with one dependency, or with the route itself."""
    if part.body_params:
        yield "no key holds a body; declare none, or drop cache_response"
    if any(ALL in names_of(field, header=True) for field in part.header_params):
        yield "no key holds every header; let the model of headers ignore extra fields"
    if part.call in never_kept:
        yield (
            f"{part.call.__name__} reads the session, and no such answer is kept; "
            "drop cache_response, or the session"
        )
    for field in security_fields(part.call):
        if not declared.has(field):
            kind = type(scheme_of(part.call)).__name__
            yield (
                f"{kind} reads {field!r}, which is not in the key; add vary=({field!r},) to "
                "cache_response, for an answer to each, or drop one of the two"
            )


def security_fields(call: Any) -> list[str]:
    """Return what a security dependency reads, in the words of `vary=`."""
    scheme = scheme_of(call)
    if scheme is None:
        return []
    model = getattr(scheme, "model", None)
    place = getattr(getattr(model, "in_", None), "value", "header")
    name = getattr(model, "name", "authorization")
    return [name.lower() if place == "header" else f"{place}:{name}"]


def scheme_of(call: Any) -> SecurityBase | None:
    """Return the security class behind a dependency, if it is one."""
    while isinstance(call, partial):
        call = call.func
    for one in (call, getattr(call, "__self__", None), inspect.unwrap(call) if call else None):
        if isinstance(one, SecurityBase):
            return one
    return None
