"""Which routes may be answered from the response cache, and what their key is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from servekit.routing.routes import Entry, Routes

SLOT = "response_cache"

# What every cacheable route may see beside the fields of its key; all else could poison the cache.
# A session that is read through the cookie keeps its answer out of the cache.
ALWAYS_SEEN = frozenset({b"host", b"cookie", b"accept-encoding", b"traceparent", b"tracestate"})


@dataclass(frozen=True, slots=True)
class CacheResponse:
    """A route's wish to be cached, as a dependency; see `cache_response`."""

    ttl_seconds: float
    stale_seconds: float
    tags: tuple[str, ...]
    vary: tuple[str, ...]
    client_seconds: float | None
    cdn_seconds: float | None
    negative_ttl_seconds: float

    async def __call__(self, request: Request) -> None:
        """Confirm that it is this route that answers."""
        exchange = request.scope.get(SLOT)
        if exchange is not None:
            exchange.confirmed = self


def cache_response(  # noqa: PLR0913 - each is a knob of its own
    *,
    ttl_seconds: float,
    stale_seconds: float = 0,
    tags: Sequence[str] = (),
    vary: Sequence[str] = (),
    client_seconds: float | None = None,
    cdn_seconds: float | None = None,
    negative_ttl_seconds: float = 0,
) -> CacheResponse:
    """Return a dependency that lets a GET route be answered from the shared response cache.

    `@app.get("/products/{id}", dependencies=[Depends(cache_response(ttl_seconds=30))])`

    An answer is fresh for `ttl_seconds`; for `stale_seconds` more it is served while the route runs
    anew, or fails. What the route says in Cache-Control goes before both. `tags` are templates over
    the path parameters (`product:{id}`) for `cache.invalidate_tag`. Browsers keep it as long as we
    do unless `client_seconds` says otherwise; `cdn_seconds` adds CDN-Cache-Control. 404 and 410 are
    kept for `negative_ttl_seconds`.

    The route sees only the request headers that are part of the key: those in `vary` and those that
    it declares with `Header()` or `Cookie()`.
    """
    if ttl_seconds <= 0:
        raise ValueError("ttl_seconds must be above zero; to switch caching off, drop the wish.")
    return CacheResponse(
        ttl_seconds,
        stale_seconds,
        tuple(tags),
        tuple(vary),
        client_seconds,
        cdn_seconds,
        negative_ttl_seconds,
    )


@dataclass(slots=True)
class CacheableRoute:
    """A route that wants to be cached; `vary` grows when its answers name further fields."""

    path: str
    pattern: re.Pattern[str]
    wish: CacheResponse
    vary: frozenset[bytes]
    selecting: tuple[bytes, ...] = field(init=False)
    seen: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.learn(frozenset())

    def learn(self, names: frozenset[bytes]) -> None:
        """Make request fields part of the key from now on."""
        self.vary |= names
        self.selecting = tuple(sorted(self.vary))
        self.seen = self.vary | ALWAYS_SEEN


class CacheableRoutes:
    """Tells the cacheable route that answers a request, or a GET of its path."""

    def __init__(self, routes: Callable[[], Routes]) -> None:
        self._routes = routes
        self._known: dict[Entry, CacheableRoute | None] = {}

    def find(self, scope: Scope) -> CacheableRoute | None:
        """Return the route that answers a GET of the path, if it wants to be cached."""
        entry = self._routes().of(scope, "GET")
        if entry is None or entry.dependant is None:
            return None
        try:
            return self._known[entry]
        except KeyError:
            return self._known.setdefault(entry, cacheable(entry))


def cacheable(entry: Entry) -> CacheableRoute | None:
    """Return the route with its wish and the request fields that it declares, if it has a wish."""
    parts = list(walk(entry.dependant))
    wishes = [part.call for part in parts if isinstance(part.call, CacheResponse)]
    if not wishes:
        return None
    declared: list[Any] = [item for part in parts for item in part.header_params]
    names = {item.alias.lower().encode() for item in declared}
    if any(part.cookie_params for part in parts):
        names.add(b"cookie")
    names |= {name.lower().encode() for name in wishes[-1].vary}
    assert entry.regex is not None  # noqa: S101 - whatever has dependencies has a path
    return CacheableRoute(entry.path, entry.regex, wishes[-1], frozenset(names))


def walk(dependant: Any) -> Iterator[Any]:
    """Yield a dependant and all that it depends on."""
    yield dependant
    for part in dependant.dependencies:
        yield from walk(part)
