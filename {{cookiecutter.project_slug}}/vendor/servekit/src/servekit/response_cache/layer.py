"""Answers from a shared cache, RFC 9111, outside the framework and the compression."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from cachebox import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.cache.cache import Cache
from servekit.cache.dependencies import cache_response
from servekit.cache.functions import Cached
from servekit.problems import about, send_problem
from servekit.response_cache.answers import (
    CONDITIONS,
    answer,
    cache_status,
    hit_status,
    respond,
    with_cache_status,
)
from servekit.response_cache.exchange import Exchange, Unstorable, page_key, uri_name
from servekit.response_cache.rfc9111 import (
    ERROR_STATUSES,
    Directives,
    parse_cache_control,
    usable_for,
)
from servekit.response_cache.routes import CacheableRoute, CacheableRoutes
from servekit.response_cache.stored import ResponseCodec, ResponsePolicy, StoredResponse
from servekit.routing.routes import Routes

__all__ = ["ResponseCacheMiddleware", "cache_response"]

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# These ask for more than a whole stored answer: the route is to see them.
BYPASSING = frozenset(
    {b"authorization", b"range", b"if-range", b"if-match", b"if-unmodified-since"}
)
SELECTED_FIELDS = (
    CONDITIONS | BYPASSING | {b"host", b"accept-encoding", b"cache-control", b"pragma"}
)
NAME = "http"
TOO_LONG_SECONDS = 60
"""Time for which a page that was too long to keep is not tried again: its route would run twice."""

CachedResponse = Cached[[str, Exchange], StoredResponse]


class ResponseCacheMiddleware:
    """Serves GET and HEAD of the routes that depend on `cache_response`, in all codings.

    `routes` gives the application's routes. One run of a route answers all who
    wait for the same page, over all workers; `limit_bytes` bounds a body that is kept. Writes to
    a URI that succeed end what is stored for its path, before the client hears of the success.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cache: Cache,
        routes: Callable[[], Routes],
        limit_bytes: int = 2**20,
    ) -> None:
        self._app = app
        self._cache = cache
        self._routes = CacheableRoutes(routes)
        self._limit_bytes = limit_bytes
        self._codec = ResponseCodec()
        self._cached: dict[str, CachedResponse] = {}
        self._too_long: LRUCache[str, float] = LRUCache(1000)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        route = self._routes.match(scope) if scope["type"] == "http" else None
        if route is not None and scope["method"] in {"GET", "HEAD"}:
            return self._read(route, scope, receive, send)
        if route is not None and scope["method"] not in SAFE_METHODS:
            return self._write(scope, receive, send)
        return self._app(scope, receive, send)

    async def _read(
        self, route: CacheableRoute, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["route"] = route  # metrics and logs name the template, though nothing was routed
        fields = selected(scope, route)
        directives = parse_cache_control(
            fields.get(b"cache-control") or fields.get(b"pragma") or b""
        )
        if "no-store" in directives or BYPASSING & fields.keys():
            await self._app(scope, receive, with_cache_status(send, b"fwd=bypass"))
            return
        key, now = page_key(scope, route, fields), time.time()
        cached = self._cached.get(route.path) or self._register(route)
        local = None if directives or cached.bypassed else cached.local_hit(key)
        if local is not None:  # All that follows would come to the same, for 4 us more.
            page: StoredResponse = local.value
            age = max(0.0, now - page.created_at)
            method, status = scope["method"], hit_status(page, age)
            await respond(send, page, method=method, fields=fields, status=status, age=age)
            return
        exchange = Exchange(self._app, scope, route, fields, key, self._limit_bytes, now)
        try:
            stored = await self._lookup(cached, exchange, directives)
        except Unstorable as outcome:
            await self._send_unstorable(outcome, exchange, receive, send)
            return
        exchange.remove = cached.delete
        exchange.in_background = True  # a run that comes later is a refresh
        if stored is None:
            await send_problem(send, 504, detail="Not in the cache.", **about(scope))
        else:
            await answer(send, stored, exchange, cache_status(stored, exchange))

    async def _lookup(
        self, cached: CachedResponse, exchange: Exchange, directives: Directives
    ) -> StoredResponse | None:
        """Return what answers the request; None: nothing, and the route is not to be asked.

        Raises:
            Unstorable: The route ran, and its answer is not for all.
        """
        key = exchange.key
        if self._too_long.get(key, 0.0) > exchange.started_at:
            raise Unstorable(exchange, None)
        if "only-if-cached" in directives:
            result = await cached.get_cached(key, exchange)
            stored = result.value if result is not None else None
            if stored is None or not usable_for(directives, stored.lifetimes, exchange.age(stored)):
                return None
            return stored
        stored = await cached(key, exchange)
        if exchange.is_new(stored):
            return stored
        if not usable_for(directives, stored.lifetimes, exchange.age(stored)):
            if directives:
                # Removed first: so whatever ends the page meanwhile also ends this run's answer.
                exchange.refetched = True
                await cached.delete(key, exchange)
                return await cached(key, exchange)
            return await self._fresh_or_stale(stored, exchange)
        return stored

    async def _fresh_or_stale(self, stored: StoredResponse, exchange: Exchange) -> StoredResponse:
        """Run the route for an answer too old to be served, but for an error (RFC 5861)."""
        try:
            return await exchange.run()
        except Unstorable as outcome:
            if outcome.response is None or outcome.response.status not in ERROR_STATUSES:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the old answer is better
            log.warning("stale_answer_on_error", route=exchange.route.path, error=repr(error))
        exchange.ran = False
        return stored

    async def _send_unstorable(
        self, outcome: Unstorable, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        response = outcome.response
        # An error is shared by all who waited for it: they must not all run into it again.
        own = outcome.exchange is exchange
        if response is None:
            self._too_long[exchange.key] = exchange.started_at + TOO_LONG_SECONDS
        if response is not None and (own or response.status in ERROR_STATUSES):
            await answer(send, response, exchange, b"fwd=uri-miss")
        else:
            await self._app(exchange.scope, receive, with_cache_status(send, b"fwd=uri-miss"))

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def invalidate_then_send(message: Message) -> None:
            if message["type"] == "http.response.start" and 200 <= message["status"] < 400:  # noqa: PLR2004
                await self._cache.invalidate_tag(f"uri:{uri_name(scope)}", name=NAME)
            await send(message)

        await self._app(scope, receive, invalidate_then_send)

    def _register(self, route: CacheableRoute) -> CachedResponse:
        policy = route.policy
        templates = [
            tag.replace("{", "{exchange.params[").replace("}", "]}") for tag in policy.tags
        ]
        cached: CachedResponse = self._cache.cached(
            "{key}",
            ttl_seconds=policy.ttl_seconds,
            stale_seconds=policy.stale_seconds,
            name=NAME,
            tags=["uri:{exchange.uri}", *templates],
            ignores=("exchange",),
        )(run_route)
        cached.key = own_key
        # The cache's own codecs are for values with a schema; a response brings its own.
        stats = cached.policy.stats
        cached.use_policy(ResponsePolicy(NAME, self._codec, stats, policy.ttl_seconds))
        self._cached[route.path] = cached
        return cached


def own_key(key: str, _: Exchange) -> str:
    """Return the key under which a page is kept: it names all that the page depends on."""
    return key


async def run_route(key: str, exchange: Exchange) -> StoredResponse:
    """Run a request's route for the cache to keep the answer."""
    try:
        return await exchange.run()
    except Unstorable as outcome:
        if exchange.in_background and not outcome.is_error and exchange.remove is not None:
            # A refresh in the background: the route took its page back.
            await exchange.remove(key, exchange)
        raise


def selected(scope: Scope, route: CacheableRoute) -> dict[bytes, bytes]:
    """Return the request fields that matter here; repeated ones are joined."""
    fields: dict[bytes, bytes] = {}
    vary = route.vary
    for name, value in scope["headers"]:
        if name in SELECTED_FIELDS or name in vary:
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
