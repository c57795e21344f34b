"""Which routes may be answered from the response cache, and what their key is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from servekit.cache.dependencies import CacheResponse
from servekit.routing.routes import Entry, Routes

# What every cacheable route sees beside the fields of its key; all else could poison the cache.
# A session that is read through the cookie keeps its answer out of the cache.
ALWAYS_VISIBLE = frozenset({b"host", b"cookie", b"accept-encoding", b"traceparent", b"tracestate"})


@dataclass(slots=True)
class CacheableRoute:
    """A route whose answers are cached; `vary` grows when they name further request fields."""

    path: str
    pattern: re.Pattern[str]
    policy: CacheResponse
    vary: frozenset[bytes]
    key_fields: tuple[bytes, ...] = field(init=False)
    visible_fields: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.add_vary(frozenset())

    def add_vary(self, names: frozenset[bytes]) -> None:
        """Make request fields part of the key from now on."""
        self.vary |= names
        self.key_fields = tuple(sorted(self.vary))
        self.visible_fields = self.vary | ALWAYS_VISIBLE


class CacheableRoutes:
    """Matches requests with the cacheable routes that answer a GET of their paths."""

    def __init__(self, routes: Callable[[], Routes]) -> None:
        self._routes = routes
        self._cacheable: dict[Entry, CacheableRoute | None] = {}

    def match(self, scope: Scope) -> CacheableRoute | None:
        """Return the route that answers a GET of the path, if its answers are cached."""
        entry = self._routes().of(scope, "GET")
        if entry is None or entry.dependant is None:
            return None
        try:
            return self._cacheable[entry]
        except KeyError:
            return self._cacheable.setdefault(entry, cacheable(entry))


def cacheable(entry: Entry) -> CacheableRoute | None:
    """Return the route with its policy and the request fields that it declares, if it has one."""
    parts = list(walk(entry.dependant))
    policies = [part.call for part in parts if isinstance(part.call, CacheResponse)]
    if not policies:
        return None
    policy = policies[-1]  # the nearest to the route
    declared: list[Any] = [item for part in parts for item in part.header_params]
    names = {item.alias.lower().encode() for item in declared}
    if any(part.cookie_params for part in parts):
        names.add(b"cookie")
    names |= {name.lower().encode() for name in policy.vary}
    assert entry.regex is not None  # noqa: S101 - whatever has dependencies has a path
    return CacheableRoute(entry.path, entry.regex, policy, frozenset(names))


def walk(dependant: Any) -> Iterator[Any]:
    """Yield a dependant and all that it depends on."""
    yield dependant
    for part in dependant.dependencies:
        yield from walk(part)
