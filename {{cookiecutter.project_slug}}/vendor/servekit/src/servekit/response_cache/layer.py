"""Answers from a shared cache, RFC 9111, outside the framework and the compression."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from string import Formatter

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.cache.cache import Cache
from servekit.cache.dependencies import EXCHANGE_KEY, cache_response
from servekit.cache.functions import Cached
from servekit.event_log import get_logger
from servekit.problems import about, send_problem
from servekit.response_cache.answers import (
    CONDITIONS,
    answer,
    cache_status,
    hit_status,
    respond,
    with_cache_status,
)
from servekit.response_cache.boundary import BOUNDARY_KEY
from servekit.response_cache.bypassing import BODY, BYPASSING
from servekit.response_cache.capture import NoBody
from servekit.response_cache.exchange import GOING_ON, Exchange, Unstorable
from servekit.response_cache.instant import InstantAnswers
from servekit.response_cache.key import page_key
from servekit.response_cache.passing import Passing
from servekit.response_cache.rfc9111 import ERROR_STATUSES, parse_cache_control, usable
from servekit.response_cache.routes import CacheableRoute, CacheableRoutes
from servekit.response_cache.stored import ResponseCodec, ResponsePolicy, StoredResponse
from servekit.response_cache.view import DECLARE, Sight
from servekit.response_cache.writes import NAME, READS, Writes
from servekit.routing.routes import Routes
from servekit.scope import TARGET_KEY

__all__ = ["ResponseCacheMiddleware", "cache_response"]

log = get_logger()

SELECTED_FIELDS = CONDITIONS | BYPASSING | {b"host", b"accept-encoding", b"cache-control"}

CachedResponse = Cached[[str, Exchange], StoredResponse]


class ResponseCacheMiddleware:
    """Serves GET and HEAD of the routes that depend on `cache_response`, in all codings.

    `routes` gives the application's routes. A route sees of a request what is in its key, and one
    run answers all who wait for the same page, over all workers; `limit_bytes` bounds a body that
    is kept. Writes to a URI end what is stored for its path, before the client hears of them and
    however they end. `is_guarded` says that a middleware around it may keep some clients out.
    `instant` learns from plain hits how the next ones are answered without any layer.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        app: ASGIApp,
        *,
        cache: Cache,
        routes: Callable[[], Routes],
        limit_bytes: int = 2**20,
        is_guarded: bool = False,
        instant: InstantAnswers | None = None,
    ) -> None:
        self.app = app
        self._instant = instant
        self._cache = cache
        self._routes = CacheableRoutes(routes)
        self._writes = Writes(app, cache=cache, routes=self._routes)
        self._limit_bytes = limit_bytes
        self._is_guarded = is_guarded
        self._codec = ResponseCodec()
        self._cached: dict[CacheableRoute, tuple[CachedResponse, Sight]] = {}
        self._passing = Passing()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        route = self._routes.match(scope) if scope["type"] == "http" else None
        if route is not None and scope["method"] in READS:
            if BOUNDARY_KEY in scope:
                return self._read_inside(route, scope, receive, send)
            return self._read(route, scope, receive, send)
        if route is not None and self._writes.concerns(route, scope):
            return self._writes(route, scope, receive, send)
        return self.app(scope, receive, send)

    async def _read_inside(
        self, route: CacheableRoute, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Read where the application's middleware stands around, and may have left something."""
        if not route.outer:
            scope.update(route.entry.matches(scope)[1])  # it looks for that after a hit too
        variable = scope[BOUNDARY_KEY].changed_variable()
        if variable is None:
            path, root_path = scope["path"], scope.get("root_path", "")  # it may have set these
            await self._read(route, scope, receive, send, path.encode(), root_path.encode())
            return
        _, sight = self._cached.get(route) or self._register(route)
        sight.tell(f"The context variable {variable!r}, which a middleware sets,", DECLARE)
        # The route says to it that it answered.
        scope[EXCHANGE_KEY] = Exchange(self.app, scope, route, sight, {}, "", 0, time.time())
        await self.app(scope, receive, with_cache_status(send, b"fwd=bypass"))

    async def _read(
        self, route: CacheableRoute, scope: Scope, receive: Receive, send: Send, *place: bytes
    ) -> None:
        target = scope.pop(TARGET_KEY, None)  # which has the whole query, for no route to see
        scope["route"] = route  # metrics and logs name the template, though nothing was routed
        fields = selected(scope, route)
        cached, sight = self._cached.get(route) or self._register(route)
        if not BYPASSING.isdisjoint(fields) and asks_for_parts_or_has_body(fields):
            await self._bypass(route, sight, fields, scope, receive, send)
            return
        key, now = page_key(scope, route, fields, *place), time.time()
        local = None if cached.bypassed else cached.local_hit(key)
        if local is not None:  # All that follows would come to the same, for 4 us more.
            page: StoredResponse = local.value
            age = max(0.0, now - page.created_at)
            method, status = scope["method"], hit_status(page, age)
            if self._instant is not None and target is not None:
                self._instant.offer(target, scope, cached, key, page)
            await respond(send, page, method=method, fields=fields, status=status, age=age)
            return
        exchange = Exchange(self.app, scope, route, sight, fields, key, self._limit_bytes, now)
        exchange.is_guarded = self._is_guarded
        if self._passing.has(key):
            await self._pass(exchange, receive, send)
        else:
            await self._answer(cached, exchange, receive, send)
            await GOING_ON.wait(exchange)

    async def _bypass(  # noqa: PLR0913, PLR0917 - what is known of the request
        self,
        route: CacheableRoute,
        sight: Sight,
        fields: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Run the route for this request only: nothing is kept, and it may see all there is."""
        exchange = Exchange(self.app, scope, route, sight, fields, "", 0, time.time())
        body = NoBody(receive) if BODY.isdisjoint(fields) else receive
        bypass = with_cache_status(send, b"fwd=bypass")
        await self.app({**scope, "method": "GET", EXCHANGE_KEY: exchange}, body, bypass)

    async def _answer(
        self, cached: CachedResponse, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        try:
            stored = await self._lookup(cached, exchange)
        except Unstorable as outcome:
            await self._send_unstorable(outcome, exchange, receive, send)
            return
        exchange.remove = cached.delete
        exchange.in_background = True  # a run that comes later is a refresh
        if stored is None:
            await send_problem(send, 504, detail="Not in the cache.", **about(exchange.scope))
        else:
            await answer(send, stored, exchange, cache_status(stored, exchange))

    async def _lookup(self, cached: CachedResponse, exchange: Exchange) -> StoredResponse | None:
        """Return what answers the request; None: nothing, and the route is not to be asked.

        Raises:
            Unstorable: The route ran, and its answer is not for all.
        """
        key = exchange.key
        # What else a client asks of a cache is advice, and would let it empty one that all share.
        if "only-if-cached" in parse_cache_control(exchange.fields.get(b"cache-control", b"")):
            result = await cached.get_cached(key, exchange)
            stored = result.value if result is not None else None
            if stored is None or not usable(stored.lifetimes, exchange.age(stored)):
                return None
            return stored
        stored = await cached(key, exchange)
        if exchange.is_new(stored) or usable(stored.lifetimes, exchange.age(stored)):
            return stored
        return await self._fresh_or_stale(stored, cached, exchange)

    async def _fresh_or_stale(
        self, stored: StoredResponse, cached: CachedResponse, exchange: Exchange
    ) -> StoredResponse:
        """Return what takes the place of an answer too old to be served, but for an error.

        One run answers all who wait for it (RFC 5861).
        """
        try:
            fresh = await cached.replaced(exchange.key, exchange)
            if exchange.is_new(fresh) or usable(fresh.lifetimes, exchange.age(fresh)):
                return fresh
            # It failed where it ran: an error, which the old answer stands for.
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
        """Send an answer to whom it is for; all others who waited for it get one of their own."""
        response, own = outcome.response, outcome.exchange is exchange
        if not outcome.is_error and outcome.error is None:
            self._passing.add(exchange.key, too_long=response is None)
        if own and outcome.error is not None:
            raise outcome.error
        if response is not None and (own or outcome.is_shared):
            await answer(send, response, exchange, b"fwd=uri-miss")
        elif own and outcome.capture is not None and exchange.rest is not None:
            run, exchange.rest = exchange.rest, None
            await outcome.capture.hand_over(run, with_cache_status(send, b"fwd=uri-miss"))
        else:
            await self._pass(exchange, receive, send)

    async def _pass(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Let the route answer this client itself: nobody waits for that, and nothing is kept."""
        seen = exchange.seen()
        status = with_cache_status(self._passing.watch(exchange, seen, send), b"fwd=uri-miss")
        await self.app(seen.scope, NoBody(receive), status)

    def _register(self, route: CacheableRoute) -> tuple[CachedResponse, Sight]:
        policy = route.policy
        templates = [of_parameters(tag) for tag in policy.tags]
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
        self._cached[route] = found = (cached, Sight(route))
        return found


def asks_for_parts_or_has_body(fields: dict[bytes, bytes]) -> bool:
    """Return whether one of the fields that bypass the cache says more than that no body comes."""
    return fields.get(b"content-length") != b"0" or len(BYPASSING & fields.keys()) > 1


def of_parameters(template: str) -> str:
    """Return a template over path parameters as one over the exchange that holds them."""
    written = []
    for text, field, spec, conversion in Formatter().parse(template):
        written.append(text.replace("{", "{{").replace("}", "}}"))
        if field is not None:
            name, rest = re.fullmatch(r"([^.\[]*)(.*)", field, re.DOTALL).groups()  # type: ignore[union-attr] # it matches any text
            how = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            written.append(f"{{exchange.params[{name}]{rest}{how}}}")
    return "".join(written)


def own_key(key: str, _: Exchange) -> str:
    """Return the key under which a page is kept: it names all that the page depends on."""
    return key


async def run_route(key: str, exchange: Exchange) -> StoredResponse:
    """Run a request's route for the cache to keep the answer."""
    try:
        return await exchange.run()
    except Unstorable as outcome:
        if (
            exchange.in_background
            and not (outcome.is_error or outcome.error)
            and exchange.remove is not None
        ):
            # A refresh in the background: the route took its page back.
            await exchange.remove(key, exchange)
        raise


def selected(scope: Scope, route: CacheableRoute) -> dict[bytes, bytes]:
    """Return the request fields that matter here; repeated ones are joined."""
    fields: dict[bytes, bytes] = {}
    vary = route.vary
    for name, value in scope["headers"]:
        if name in vary:  # a line for each: two fields are not one with a comma
            fields[name] = fields[name] + b"\n" + value if name in fields else value
        elif name in SELECTED_FIELDS:
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
