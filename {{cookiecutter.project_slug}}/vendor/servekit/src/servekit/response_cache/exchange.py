"""One run of a cacheable route: what it is shown, what it answered, whether that is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from starlette.types import ASGIApp, Message, Scope

from servekit.cache.dependencies import EXCHANGE_KEY, CacheResponse
from servekit.layers.http_headers import Headers, add_vary, header_value, replace_header
from servekit.response_cache.rfc9111 import (
    ERROR_STATUSES,
    NEGATIVE_STATUSES,
    Lifetimes,
    accepted_codings,
    lifetimes,
    may_store,
    seconds_of,
    sorted_query,
    vary_names,
)
from servekit.response_cache.routes import CacheableRoute
from servekit.response_cache.stored import StoredResponse

RUN_SECONDS = 60.0
GZIP = b"\x1f\x8b"
NOT_KEPT = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"age"})


class Unstorable(Exception):  # noqa: N818 - an outcome, not a failure
    """A route's answer is not for all: `response` is for the `exchange` that ran it, only.

    Without a response it was too long to hold, and the route is to run again.
    """

    def __init__(self, exchange: Exchange, response: StoredResponse | None) -> None:
        status = response.status if response is not None else "more than is kept"
        super().__init__(f"{exchange.route.path} answered {status}")
        self.exchange = exchange
        self.response = response

    @property
    def is_error(self) -> bool:
        """Whether what is stored is still the better answer."""
        return self.response is not None and self.response.status in ERROR_STATUSES


@dataclass(slots=True, eq=False)
class Exchange:
    """A request to a cacheable route; `fields` holds what the key and the conditions need.

    `ran` says that the route ran for this request, `in_background` that it has its answer already,
    `refetched` that it asked for more than a stored one; `answered_by` is the policy of the route
    that ran in fact, which a router inside may have chosen otherwise.
    """

    app: ASGIApp
    scope: Scope
    route: CacheableRoute
    fields: dict[bytes, bytes]
    key: str
    limit_bytes: int
    started_at: float
    ran: bool = False
    in_background: bool = False
    refetched: bool = False
    answered_by: CacheResponse | None = None
    remove: Callable[[str, Exchange], Awaitable[None]] | None = None

    def __str__(self) -> str:
        return ""  # cache keys are made of text; this is no part of any

    @property
    def uri(self) -> str:
        """A name for the path, whatever its query or host."""
        return uri_name(self.scope)

    @property
    def params(self) -> dict[str, str]:
        """The path's parameters, for tags."""
        match = self.route.pattern.match(self.scope["path"])
        return match.groupdict() if match is not None else {}

    def age(self, stored: StoredResponse) -> float:
        """Return the seconds since the response was made, when this request came."""
        return max(0.0, self.started_at - stored.created_at)

    def is_new(self, stored: StoredResponse) -> bool:
        """Return whether the response was made for this request, or for one that it waited with."""
        # Another host's clock may run ahead: what was made in the future is just a hit.
        return self.ran or self.started_at <= stored.created_at <= time.time()

    async def run(self) -> StoredResponse:
        """Run the route and return its answer to be kept.

        Raises:
            Unstorable: It is not for all, or an error.
        """
        self.ran = not self.in_background
        capture = Capture(self.limit_bytes)
        # Callers leave at their own deadlines; this ends a run that none of them waits for.
        async with asyncio.timeout(RUN_SECONDS):
            try:
                await self.app(self._inner_scope(), NoBody(), capture)
            except Exception:
                if not capture.too_long:
                    raise
        if capture.too_long:
            raise Unstorable(self, None)
        return self._judge(capture)

    def _inner_scope(self) -> Scope:
        # Conditions are ours to check, and a field outside the key must not shape the answer.
        headers = [item for item in self.scope["headers"] if item[0] in self.route.visible_fields]
        return {
            **self.scope,
            "method": "GET",
            "headers": headers,
            "extensions": {},
            EXCHANGE_KEY: self,
        }

    def _judge(self, capture: Capture) -> StoredResponse:
        policy, headers = self.route.policy, capture.headers
        # What a route took from elsewhere may have been old when it came (RFC 9111 4.2.3).
        age = seconds_of(header_value(headers, b"age"))
        headers = [item for item in headers if item[0] not in NOT_KEPT]
        made_at = time.time() - age
        response = StoredResponse(capture.status, headers, capture.body, made_at, Lifetimes(0))
        if self.answered_by is not policy or not may_store(capture.status, headers):
            raise Unstorable(self, response)
        new_fields = vary_names(headers) - self.route.vary - {b"accept-encoding"}
        if new_fields:
            self.route.add_vary(new_fields)
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
            announced(headers, capture.body, policy, times, self.route.vary),
            capture.body,
            response.created_at,
            times,
        )


class Capture:
    """An ASGI send that keeps the whole response."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self.too_long = False
        self.status = 500
        self.headers: Headers = []

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(n).lower(), bytes(v)) for n, v in message["headers"]]
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self._parts.append(bytes(part))
            self._size += len(part)
            if self._size > self._limit_bytes:
                self.too_long = True
                raise OSError("The answer is longer than what is kept.")  # as if the client left


def announced(
    headers: Headers, body: bytes, policy: CacheResponse, times: Lifetimes, vary: frozenset[bytes]
) -> Headers:
    """Return headers that tell other caches what this one does, where the route was silent."""
    if not header_value(headers, b"cache-control"):
        seconds = times.fresh if policy.client_seconds is None else policy.client_seconds
        value = b"public, max-age=%d" % seconds
        if times.while_revalidating and policy.client_seconds is None:
            stale = (times.while_revalidating, times.on_error)
            value += b", stale-while-revalidate=%d, stale-if-error=%d" % stale
        headers = replace_header(headers, b"cache-control", value)
    if policy.cdn_seconds is not None:
        value = b"max-age=%d" % policy.cdn_seconds
        headers = replace_header(headers, b"cdn-cache-control", value)
    if not header_value(headers, b"etag"):
        headers = replace_header(headers, b"etag", entity_tag(body))
    headers = replace_header(headers, b"content-length", b"%d" % len(body))
    for name in sorted(vary):
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


def page_key(scope: Scope, route: CacheableRoute, fields: dict[bytes, bytes]) -> str:
    """Return the name of an answer: scheme, host, path, query, and what it varies on."""
    return _key(
        scope["scheme"],
        fields.get(b"host", b""),
        scope.get("raw_path") or scope["path"].encode(),
        scope["query_string"],
        fields.get(b"accept-encoding", b""),
        # Absent is not empty.
        *[part for name in route.key_fields for part in (name, fields.get(name, b"\n"))],
    )


@lru_cache(maxsize=512)
def _key(
    scheme: str, host: bytes, path: bytes, query: bytes, codings: bytes, *key_fields: bytes
) -> str:
    parts = [scheme.encode(), host.lower(), path, sorted_query(query), accepted_codings(codings)]
    return "http:" + blake2b(b"\n".join([*parts, *key_fields]), digest_size=16).hexdigest()


def uri_name(scope: Scope) -> str:
    """Return a name for a request's path; every query of it shares the name."""
    return blake2b(scope["path"].encode(), digest_size=16).hexdigest()


class NoBody:
    """An ASGI receive without a client: an empty body, then silence."""

    def __init__(self) -> None:
        self._received = False

    async def __call__(self) -> Message:
        if self._received:
            await asyncio.Event().wait()
        self._received = True
        return {"type": "http.request", "body": b"", "more_body": False}
