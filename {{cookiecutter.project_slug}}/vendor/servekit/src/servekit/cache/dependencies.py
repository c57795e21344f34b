"""What routes say of the cache: that they use it, and that their answers are kept in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from weakref import WeakSet

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from servekit.cache.cache import Cache
from servekit.context import service_of
from servekit.event_log import get_logger
from servekit.scope import SCOPE_KEY

log = get_logger()

EXCHANGE_KEY = "servekit.response_cache"
"""Where the response cache puts the run of a route in its scope."""


async def get_cache(connection: HTTPConnection) -> Cache:
    """Return the cache of this worker, for `Depends`."""
    cache: Cache = service_of(connection).cache
    return cache


CacheDep = Annotated[Cache, Depends(get_cache)]
"""The cache of this worker."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CacheResponse:
    """How a route's answers are cached, as a dependency of the route; see `cache_response`."""

    ttl_seconds: float
    stale_seconds: float
    tags: tuple[str, ...]
    vary: tuple[str, ...]
    client_seconds: float | None
    cdn_seconds: float | None
    negative_ttl_seconds: float

    async def __call__(self, request: Request) -> None:
        """Note that it is a route of this policy that answers."""
        exchange = request.scope.get(EXCHANGE_KEY)
        if exchange is not None:
            exchange.answered_by = self
        elif SCOPE_KEY in request.scope and self not in OUT_OF_SIGHT:
            OUT_OF_SIGHT.add(self)
            # What wraps a mounted application without showing its routes hides them from the cache.
            log.warning("cache_response_ignored", path=request.scope["path"])


OUT_OF_SIGHT: WeakSet[CacheResponse] = WeakSet()
"""Policies of routes that the response cache did not find."""


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

    The key is made of the path, the query parameters, headers and cookies that the route and its
    dependencies declare, and those in `vary`: a header by its name, `cookie:lang`, `query:page`,
    `cookie` and `query:*` for all of them. Who reads another by hand gets it, and his answer is
    kept for nobody; the log says so.
    """
    if ttl_seconds <= 0:
        raise ValueError("ttl_seconds must be above zero; without caching, drop cache_response.")
    for name in vary:
        place, _, rest = name.rpartition(":")
        if place not in {"", "cookie", "query"} or not rest or (not place and rest == "*"):
            raise ValueError(f"vary= names a header, 'cookie:NAME' or 'query:NAME', not {name!r}.")
    return CacheResponse(
        ttl_seconds,
        stale_seconds,
        tuple(tags),
        tuple(vary),
        client_seconds,
        cdn_seconds,
        negative_ttl_seconds,
    )
