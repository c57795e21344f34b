"""One run of a cacheable route: what it is shown, what it answered, whether that is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

from starlette.types import ASGIApp, Scope

from servekit.cache.dependencies import EXCHANGE_KEY, CacheResponse
from servekit.event_log import get_logger
from servekit.layers.http_headers import Headers, add_vary, header_value, replace_header
from servekit.response_cache.boundary import BOUNDARY_KEY
from servekit.response_cache.capture import Capture, NoBody
from servekit.response_cache.key import uri_name
from servekit.response_cache.rfc9111 import (
    ERROR_STATUSES,
    NEGATIVE_STATUSES,
    Lifetimes,
    age_of,
    is_private,
    lifetimes,
    may_store,
)
from servekit.response_cache.routes import CacheableRoute
from servekit.response_cache.stored import StoredResponse
from servekit.response_cache.view import Sight, View
from servekit.scope import SESSION_HEADERS_KEY, SESSION_KEY

RUN_SECONDS = 60.0
GZIP = b"\x1f\x8b"
NOT_KEPT = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"age"})

log = get_logger()


class Unstorable(Exception):  # noqa: N818 - an outcome, not a failure
    """A route's answer is not for all: `response` is for the `exchange` that ran it, only.

    Without a response it raised `error`, or it cannot be kept, and the `capture` hands it over.
    """

    def __init__(
        self,
        exchange: Exchange,
        response: StoredResponse | None,
        error: Exception | None = None,
        capture: Capture | None = None,
    ) -> None:
        status = response.status if response is not None else error or "more than is kept"
        super().__init__(f"{exchange.route.path} answered {status}")
        self.exchange = exchange
        self.response = response
        self.error = error
        self.capture = capture

    @property
    def is_error(self) -> bool:
        """Whether what is stored is still the better answer."""
        return self.response is not None and self.response.status in ERROR_STATUSES

    @property
    def is_shared(self) -> bool:
        """Whether it is an error that all who waited get: they must not all run into it again."""
        return self.is_error and not self.exchange.is_private


@dataclass(slots=True, eq=False, repr=False)  # a route sees it, and not what it holds
class Exchange:
    """A request to a cacheable route; `fields` holds what the key and the conditions need.

    `ran` says that the route ran for this request, `in_background` that it has its answer already,
    `is_private` that the answer is this client's only, `is_guarded` that a middleware may keep some
    from what all who it lets in share; `answered_by` is the policy of the route
    that ran in fact, which a router inside may have chosen otherwise. `rest` is the run, which may
    go on after its answer: background tasks.
    """

    app: ASGIApp
    scope: Scope
    route: CacheableRoute
    sight: Sight
    fields: dict[bytes, bytes]
    key: str
    limit_bytes: int
    started_at: float
    ran: bool = False
    in_background: bool = False
    is_private: bool = False
    is_guarded: bool = False
    answered_by: CacheResponse | None = None
    remove: Callable[[str, Exchange], Awaitable[None]] | None = None
    rest: asyncio.Task[None] | None = None
    _place: tuple[str, dict[str, str]] | None = None

    def __str__(self) -> str:
        return ""  # cache keys are made of text; this is no part of any

    @property
    def uri(self) -> str:
        """A name for the path, whatever its query or host."""
        return uri_name(self._find_place()[0])

    @property
    def params(self) -> dict[str, str]:
        """The path's parameters, for tags: as the route gets them, written out."""
        return self._find_place()[1]

    def _find_place(self) -> tuple[str, dict[str, str]]:
        if self._place is None:
            self._place = self.route.place(self.scope)
        return self._place

    def age(self, stored: StoredResponse) -> float:
        """Return the seconds since the response was made, when this request came."""
        return max(0.0, self.started_at - stored.created_at)

    def is_new(self, stored: StoredResponse) -> bool:
        """Return whether the response was made for this request, or for one that it waited with."""
        # Another host's clock may run ahead: what was made in the future is just a hit.
        return self.ran or self.started_at <= stored.created_at <= time.time()

    def seen(self) -> Run:
        """Return what the route runs with: what is in its key.

        The session finds its cookie all the same: an answer that reads it is its client's only.
        """
        view = View(self.sight, self.scope, self.scope.get(BOUNDARY_KEY))
        view.scope[EXCHANGE_KEY] = self
        view.scope[SESSION_HEADERS_KEY] = self._session_headers
        session = self.scope.get(SESSION_KEY)
        if session is not None and self.in_background:
            session = session._of_nobody()  # noqa: SLF001 - no user is to see this name
            view.scope[SESSION_KEY] = session
        return Run(view, session.loads if session is not None else 0)

    def _session_headers(self) -> Headers:
        return [] if self.in_background else list(self.scope["headers"])

    async def run(self) -> StoredResponse:
        """Run the route and return its answer to be kept, as soon as it is whole.

        Raises:
            Unstorable: It is not for all, or an error.
        """
        self.ran = not self.in_background
        capture, seen = Capture(self.limit_bytes), self.seen()
        self.rest = asyncio.get_running_loop().create_task(self._call(seen.scope, capture))
        self.rest.add_done_callback(capture.end)
        try:
            # Callers leave at their own deadlines; this ends a run that none of them waits for.
            async with asyncio.timeout(RUN_SECONDS):
                await capture.complete
        except Exception as error:
            if seen.is_personal():
                raise Unstorable(self, None, error) from error
            raise
        finally:
            if not capture.complete.done() or capture.complete.cancelled():
                self.rest.cancel()
        if capture.unkept:
            self.sight.tell_unkept(capture.unkept, capture.remedy)
            if self.in_background:
                self.rest.cancel()
            raise Unstorable(self, None, capture=capture)
        GOING_ON.follow(self)
        self.is_private = seen.is_personal()
        return self._judge(capture)

    async def _call(self, scope: Scope, capture: Capture) -> None:
        if (boundary := self.scope.get(BOUNDARY_KEY)) is not None:
            boundary.hide_variables()  # in the context of this task
        await self.app(scope, NoBody(), capture)

    def _judge(self, capture: Capture) -> StoredResponse:
        policy, headers = self.route.policy, capture.headers
        # What a route took from elsewhere may have been old when it came (RFC 9111 4.2.3).
        age = age_of(headers)
        headers = [item for item in headers if item[0] not in NOT_KEPT]
        made_at = time.time() - age
        response = StoredResponse(capture.status, headers, capture.body, made_at, Lifetimes(0))
        self.is_private = self.is_private or is_private(headers)
        if self.is_private or self.answered_by is not policy:
            raise Unstorable(self, response)
        if not may_store(capture.status, headers):
            raise Unstorable(self, response)
        negative = capture.status in NEGATIVE_STATUSES
        ttl = policy.negative_ttl_seconds if negative else policy.ttl_seconds
        stale = 0 if negative else policy.stale_seconds
        times = lifetimes(headers, default=Lifetimes(ttl, stale, stale))
        # Nobody but the route's author may make us keep an answer for longer.
        times = replace(times, fresh=min(times.fresh, ttl))
        if times.total <= age:
            raise Unstorable(self, response)
        return StoredResponse(
            capture.status,
            announced(headers, capture.body, self.route, times, is_guarded=self.is_guarded),
            capture.body,
            response.created_at,
            times,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a route; `loads` says how often the session had been asked for before."""

    view: View
    loads: int

    @property
    def scope(self) -> Scope:
        """The scope that the run sees."""
        return self.view.scope

    def is_personal(self) -> bool:
        """Return whether it has read or written a session, or has seen more than its key."""
        session = self.view.scope.get(SESSION_KEY)
        return self.view.lifted or getattr(session, "loads", 0) != self.loads


def announced(
    headers: Headers, body: bytes, route: CacheableRoute, times: Lifetimes, *, is_guarded: bool
) -> Headers:
    """Return headers that tell other caches what this one does, where the route was silent."""
    policy = route.policy
    if not header_value(headers, b"cache-control"):
        seconds = times.fresh if policy.client_seconds is None else policy.client_seconds
        # A cache in front may not hold to Vary: what depends on who asks is the browser's only.
        is_guarded = is_guarded and policy.cdn_seconds is None
        reach = b"private" if route.declared.is_personal or is_guarded else b"public"
        value = b"%b, max-age=%d" % (reach, seconds)
        if is_guarded and policy.client_seconds is None:
            value = b"private, no-cache"  # who is let in now may not be in a minute
        elif times.while_revalidating and policy.client_seconds is None:
            stale = (times.while_revalidating, times.on_error)
            value += b", stale-while-revalidate=%d, stale-if-error=%d" % stale
        headers = replace_header(headers, b"cache-control", value)
    if policy.cdn_seconds is not None:
        value = b"max-age=%d" % policy.cdn_seconds
        headers = replace_header(headers, b"cdn-cache-control", value)
    if not header_value(headers, b"etag"):
        headers = replace_header(headers, b"etag", entity_tag(body))
    headers = replace_header(headers, b"content-length", b"%d" % len(body))
    for name in sorted(route.vary):
        headers = add_vary(headers, name)
    return headers


def entity_tag(body: bytes) -> bytes:
    """Return a weak tag of an encoded body: equal bodies have it, whenever they were compressed."""
    digest = blake2b(digest_size=12)
    if body.startswith(GZIP):  # bytes 4 to 7 are the time of the compression
        digest.update(body[8:])
    else:
        digest.update(body)
    return b'W/"%b"' % digest.hexdigest().encode()


class GoingOn:
    """Runs that go on after their answer, held until they end."""

    def __init__(self) -> None:
        self._runs: set[asyncio.Task[None]] = set()

    def follow(self, exchange: Exchange) -> None:
        """Hold a run, and log what it raises unless its request waits for it."""
        run = exchange.rest
        if run is None or run.done():
            return
        self._runs.add(run)

        def end(run: asyncio.Task[None]) -> None:
            self._runs.discard(run)
            followed, exchange.rest = exchange.rest is None, None
            if not run.cancelled() and (error := run.exception()) and not followed:
                log.error("unhandled_exception", route=exchange.route.path, exc_info=error)

        run.add_done_callback(end)

    @staticmethod
    async def wait(exchange: Exchange) -> None:
        """Wait for the rest of a run as its request, and raise what it raises."""
        run, exchange.rest = exchange.rest, None
        if run is None or not exchange.ran:
            return
        try:
            await asyncio.shield(run)
        except asyncio.CancelledError:
            exchange.rest = run
            raise


GOING_ON = GoingOn()
