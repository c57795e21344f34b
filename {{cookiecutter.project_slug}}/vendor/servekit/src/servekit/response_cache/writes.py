"""Writes end what is stored for their path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.cache.cache import Cache
from servekit.response_cache.boundary import BOUNDARY_KEY, Boundary
from servekit.response_cache.key import uri_name
from servekit.response_cache.routes import CacheableRoute, CacheableRoutes
from servekit.routing.routes import Routes

NAME = "http"
READS = frozenset({"GET", "HEAD"})
SAFE_METHODS = READS | {"OPTIONS", "TRACE"}
WRITTEN_KEY = "servekit.written"
"""Where the scope of a write has the tag that a layer further out ends."""


class Writes:
    """Passes writes on; the pages of their paths end, however those do."""

    def __init__(self, app: ASGIApp, *, cache: Cache, routes: CacheableRoutes) -> None:
        self.app = app
        self._cache = cache
        self._routes = routes

    def concerns(self, route: CacheableRoute | None, scope: Scope) -> bool:
        """Return whether a request may change a page."""
        return (
            route is not None
            and scope["method"] not in SAFE_METHODS
            and self._routes.answers(scope)  # nothing runs for a 405
        )

    async def __call__(
        self, route: CacheableRoute, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a write on; the page ends however that ends, for it may have been committed.

        It ends before the client hears of the write, and again when the write is over: what reads
        in between, and what commits after its answer, must not bring back the old page.
        """
        tag = f"uri:{uri_name(route.place(scope)[0])}"
        if scope.get(WRITTEN_KEY) == tag:
            await self.app(scope, receive, send)
            return
        scope[WRITTEN_KEY] = tag

        async def invalidate_then_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._cache.invalidate_tag(tag, name=NAME)
            await send(message)

        try:
            await self.app(scope, receive, invalidate_then_send)
        finally:
            await self._cache.invalidate_tag(tag, name=NAME)


class BoundaryMiddleware:
    """Stands around the application's own middleware where the cache stands inside of that.

    It remembers what a request had before, and ends the pages of a write when that is wholly over:
    a middleware may commit it.
    """

    def __init__(self, app: ASGIApp, *, cache: Cache, routes: Callable[[], Routes]) -> None:
        self.app = app
        self._routes = CacheableRoutes(routes)
        self._writes = Writes(app, cache=cache, routes=self._routes)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        if scope["method"] in READS:
            scope[BOUNDARY_KEY] = Boundary.of(scope)
            return self.app(scope, receive, send)
        route = self._routes.match(scope)
        if route is not None and self._writes.concerns(route, scope):
            return self._writes(route, scope, receive, send)
        return self.app(scope, receive, send)
