"""Hits of the local tier, answered by the connection: before there is a scope, a task, a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple

from servekit.layers.http_headers import Headers
from servekit.layers.proxy_headers import forwarded_client, forwarded_scheme
from servekit.layers.request_id import SANE, TRACEPARENT
from servekit.layers.telemetry import Ended
from servekit.response_cache.answers import CONDITIONS
from servekit.response_cache.bypassing import BYPASSING
from servekit.scope import LEARN_HEAD_KEY, REQUEST_ID_KEY, TRACE_ID_KEY

if TYPE_CHECKING:
    from starlette.types import Scope

    from servekit.cache.functions import Cached
    from servekit.layers.request_id import RequestIds
    from servekit.layers.telemetry import EndedRequests
    from servekit.response_cache.routes import CacheableRoute
    from servekit.response_cache.stored import StoredResponse
    from servekit.routing.routes import Routes

PLACES_MAX = 4096
VARIANTS_MAX = 16
NAME_BYTES_MAX = 512
"""The longest target, host and list of codings together that is remembered."""

FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
NEED_A_LAYER = BYPASSING | CONDITIONS | {b"origin", b"x-forwarded-prefix", b"expect", b"upgrade"}
"""Fields that a layer has to see; the cache's own, CORS', the prefix, and what the server reads."""
READ = NEED_A_LAYER | FORWARDED | {b"host", b"accept-encoding", b"x-request-id", b"traceparent"}

# Lines of a head that differ from hit to hit, in the order in which an answer has them.
VARYING = {
    b"date": b"date: %b\r\n",
    b"cache-status": b"cache-status: service; hit; ttl=%d\r\n",
    b"age": b"age: %d\r\n",
    b"x-request-id": b"x-request-id: %b\r\n",
}

Variant = tuple[bytes, bytes, str]
"""Host, accepted codings and forwarded scheme."""


class Told(NamedTuple):
    """What a request's fields say that matters to a hit."""

    variant: Variant
    request_id: str
    trace_id: str
    client: tuple[str, int] | None
    """None: the peer."""


class Place(NamedTuple):
    """Where a page is found again, and how its requests are counted."""

    cached: Cached[..., StoredResponse]
    key: str
    route: CacheableRoute
    path: str


class InstantAnswers:
    """What connections ask first of all for a GET; a hit that went through all layers teaches it.

    A head is kept with its page, as it was sent, and written again with the date, age, time to live
    and request id of the next hit. Whatever needs a layer takes the way through them: other fields
    of the request, a page that is not plainly fresh, a worker that is not at ease, a route that
    more than path and method choose. `routes` gives the table of routes: another one may answer.
    """

    def __init__(
        self,
        *,
        ended: EndedRequests,
        new_id: RequestIds,
        is_at_ease: Callable[[], bool],
        routes: Callable[[], Routes],
        hops: int = 0,
    ) -> None:
        self.targets: dict[bytes, dict[Variant, Place]] = {}
        """By the target as it stands in the request line."""
        self.is_in_force: Callable[[], bool] = lambda: False
        """Whether the layers around the cache are ours alone, as they were built."""
        self._ended = ended
        self._new_id = new_id.new
        self._is_at_ease = is_at_ease
        self._routes = routes
        self._table: Routes | None = None
        self._places = 0
        self._hops = hops
        self._defaults: Sequence[tuple[bytes, bytes]] = ()
        self._date = b""

    def answer(
        self,
        target: bytes,
        fields: Headers,
        client: tuple[str, int] | None,
        defaults: Sequence[tuple[bytes, bytes]],
    ) -> tuple[bytes, bytes] | None:
        """Return head and body, and count the request; None: it goes through the layers.

        `defaults` are the server's own fields, the date among them.
        """
        began = perf_counter()
        if not (self._is_at_ease() and self.is_in_force() and self._routes() is self._table):
            return None
        told = self._read(fields)
        if told is None:
            return None
        place = self.targets[target].get(told.variant)
        entry = place.cached.local_entry(place.key) if place is not None else None
        if place is None or entry is None or place.cached.bypassed:
            return None
        page: StoredResponse = entry.value
        age = max(0.0, time() - page.created_at)
        ttl = page.lifetimes.fresh - age
        if not page.head or ttl <= 0:
            return None
        if defaults is not self._defaults:  # the server renews the list each second
            self._defaults, self._date = defaults, dict(defaults)[b"date"]
        place.cached.count_local_hit()
        request_id = told.request_id or self._new_id()
        line = {
            "method": "GET",
            "path": place.path,
            "route": place.route,
            "client": told.client or client,
            REQUEST_ID_KEY: request_id,
        }
        if told.trace_id:
            line[TRACE_ID_KEY] = told.trace_id
        head = page.head % (self._date, ttl, age, request_id.encode())
        self._ended.add(Ended(line, page.status, len(page.body), perf_counter() - began))
        return head, page.body

    def offer(
        self, target: bytes, scope: Scope, cached: Cached[..., Any], key: str, page: StoredResponse
    ) -> None:
        """Have the connection tell how the head of this hit is sent, if the next can be instant.

        `target` is what the request line says.
        """
        route, table = scope["route"], self._routes()
        if scope["method"] != "GET" or route.vary or not self.is_in_force():
            return
        if not table.is_settled(scope):
            return  # something else may choose another route the next time
        told = self._read(scope["headers"])
        if told is None or len(target) + sum(map(len, told.variant)) > NAME_BYTES_MAX:
            return

        path = scope["path"]  # the scope is to hold this function: it must not hold the scope

        def learn(lines: Iterable[bytes]) -> None:
            page.head = page.head or template(lines)
            if page.head:
                place = Place(cached, key, route, path)
                self._remember(table, target, told.variant, place)

        scope[LEARN_HEAD_KEY] = learn

    def _remember(self, table: Routes, target: bytes, variant: Variant, place: Place) -> None:
        if table is not self._table:
            self._table, self._places = table, 0
            self.targets.clear()
        variants = self.targets.setdefault(target, {})
        self._places -= len(variants)
        if len(variants) >= VARIANTS_MAX:
            del variants[next(iter(variants))]
        variants[variant] = place
        self._places += len(variants)
        while self._places > PLACES_MAX:  # the oldest first
            self._places -= len(self.targets.pop(next(iter(self.targets))))

    def _read(self, fields: Headers) -> Told | None:
        """Return what the fields say; None if a layer has to see one of them."""
        host = coding = b""
        request_id = trace_id = scheme = ""
        client = None
        forwarded = False
        for name, value in fields:
            if name not in READ:
                continue
            if name == b"host":
                host = value
            elif name == b"accept-encoding":
                coding = coding + b", " + value if coding else value
            elif name in NEED_A_LAYER:
                return None
            elif name == b"x-request-id":
                request_id = value.decode() if SANE.fullmatch(value) else ""
            elif name == b"traceparent":
                parent = TRACEPARENT.fullmatch(value)
                trace_id = parent[1].decode() if parent else ""
            else:
                forwarded = True
        if forwarded and self._hops:
            scope = {"type": "http", "headers": fields}
            client = forwarded_client(scope, self._hops)
            scheme = forwarded_scheme(scope, self._hops)
        return Told((host, coding, scheme), request_id, trace_id, client)


def template(lines: Iterable[bytes]) -> bytes:
    """Return the form of a head with places for what varies; empty if it does not have them all."""
    parts, found = [], []
    for line in lines:
        name = line.partition(b":")[0]
        form = VARYING.get(name)
        if form is not None:
            found.append(name)
        elif name == b"connection":
            return b""
        parts.append(form or line.replace(b"%", b"%%"))
    # A date in another place is the route's own.
    in_order = found == list(VARYING) and parts[1] == VARYING[b"date"]
    return b"".join(parts) if in_order else b""
