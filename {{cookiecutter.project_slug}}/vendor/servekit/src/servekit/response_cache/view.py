"""What a run of a cached route sees: what is in its key. Who reads more gets it, for himself."""

from __future__ import annotations

from pathlib import Path
from types import FrameType
from typing import Any, cast

from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import Scope

from servekit.event_log import get_logger
from servekit.foreign.requests import (
    VeiledHeaders,
    VeiledQuery,
    guard_requests,
    is_framework,
    readers,
)
from servekit.layers.http_headers import header_value
from servekit.response_cache.boundary import Boundary
from servekit.response_cache.declared import ALL
from servekit.response_cache.key import visible_cookies, visible_path, visible_query
from servekit.response_cache.rfc9111 import accepted_codings
from servekit.response_cache.routes import ALWAYS_IN_KEY, FOR_TRACES, CacheableRoute
from servekit.response_cache.veils import VeiledDict, VeiledScope, VeiledState

VIEW_KEY = "servekit.view"
# A cached GET has no body, and the cache itself answers conditions and gives parts to the route:
# to ask for these is no mistake.
JUST_ABSENT = frozenset(
    {
        *("content-length", "content-type", "transfer-encoding", "connection", "upgrade", "expect"),
        *("if-none-match", "if-modified-since", "if-match", "if-unmodified-since"),
        *("range", "if-range"),
    }
)
# The key has these in one spelling for all clients, and a run sees that.
SPELLED = ALWAYS_IN_KEY | {b"cookie"}
NARROWED = frozenset({"headers", "query_string", "client", "http_version", "extensions"})
TOLD_MAX = 20  # a name that is read may come from a client
IN_MIDDLEWARE = "read it in a middleware of the application, which sees every request"
BY_NAME = "read each by its name, with vary= on cache_response or a declared parameter"
BY_HAND = f"{BY_NAME}; a middleware belongs on the outermost application, around the cache"
DECLARE = "declare what it is made of as a parameter"

log = get_logger()

guard_requests(VIEW_KEY)


class Sight:
    """What all runs of one route may see, and what they were told of what they may not."""

    def __init__(self, route: CacheableRoute) -> None:
        self.route = route
        names = {name.decode("latin-1") for name in route.vary | ALWAYS_IN_KEY}
        self.readable = JUST_ABSENT | names
        self._told: set[str] = set()

    def narrow(self, scope: Scope) -> dict[str, Any]:
        """Return headers, query and the like as they are in the key."""
        route = self.route
        given = [item for item in scope["headers"] if item[0] in route.visible]
        headers = [item for item in given if item[0] not in SPELLED]
        headers += [(b"host", value.lower()) for name, value in given if name == b"host"]
        codings = accepted_codings(header_value(given, b"accept-encoding"))
        cookies = b"\n".join(value for name, value in given if name == b"cookie")
        cookies = visible_cookies(cookies, route.cookies)
        headers += [(b"accept-encoding", codings)] * bool(codings)
        headers += [(b"cookie", line) for line in cookies.split(b"\n") if line]
        narrowed: dict[str, Any] = {
            "headers": headers,
            "query_string": visible_query(scope["query_string"], route.query),
            "client": None,
            "http_version": "1.1",
            "extensions": {},
        }
        return {key: value for key, value in narrowed.items() if key in scope}

    def tell(self, what: str, remedy: str, read_at: str = "") -> None:
        """Say in the log, once for each thing, that the route's answers are made of more."""
        self.tell_unkept(f"{what} is not in its key", f"{remedy}, or drop cache_response", read_at)

    def tell_unkept(self, reason: str, remedy: str, read_at: str = "") -> None:
        """Say in the log, once for each reason, why the route's answers are not kept."""
        if reason not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(reason)
            facts = {"reason": reason, "read_at": read_at, "remedy": remedy}
            log.warning("response_not_cached", route=self.route.path, **facts)


class View:
    """What one run sees: the key's, until somebody reads what is not in it.

    Then it sees the request as it came, and `lifted` says that the answer is for this client only.
    So a run that has not read further is made of its key, whoever asked. `boundary` says what there
    was before the application's middleware, where that stands around the cache: what it leaves for
    the route is in no key either.
    """

    def __init__(self, sight: Sight, scope: Scope, boundary: Boundary | None) -> None:
        self._sight, self._scope = sight, scope
        self.lifted = False
        self.narrowed = sight.narrow(scope)
        visible = {
            key: value
            for key, value in scope.items()
            if key not in NARROWED and (boundary is None or boundary.has(key, value))
        }
        visible |= {"method": "GET", VIEW_KEY: self}
        if visible.get("raw_path"):
            visible["raw_path"] = visible_path(visible["raw_path"])
        real = {**scope, "method": "GET"}
        if boundary is not None:
            state = scope.setdefault("state", {})
            visible["state"] = VeiledState(boundary.unchanged(state), state, OfState(self))
        self.scope: Scope = VeiledScope(visible, self.narrowed, real, OfScope(self))

    def headers(self, request: HTTPConnection[Any]) -> Headers:
        """Return the request's headers; those for tracing are not the route's."""
        given, real = self._given(request, "headers")
        if self.lifted:
            return Headers(raw=list(given))
        seen = [item for item in given if item[0] not in FOR_TRACES]
        return VeiledHeaders(Headers(raw=seen), Headers(raw=list(real)), OfHeaders(self))

    def query_params(self, request: HTTPConnection[Any]) -> QueryParams:
        """Return the query's parameters."""
        given, real = self._given(request, "query_string")
        if self.lifted or ALL in self._sight.route.query:
            return QueryParams(given)
        return VeiledQuery(QueryParams(given), QueryParams(real), OfQuery(self))

    def cookies(self, request: HTTPConnection[Any]) -> dict[str, str]:
        """Return the cookies."""
        given, real = self._given(request, "headers")
        if self.lifted or ALL in self._sight.route.cookies:
            return cookies_of(given)
        return VeiledDict(cookies_of(given), cookies_of(real), OfCookies(self))

    def _given(self, request: HTTPConnection[Any], key: str) -> tuple[Any, Any]:
        """Return what a run sees, and what there is; they are one where somebody set it inside."""
        # Whoever reads is heard by what is given; the scope itself is not read by him.
        given = dict.get(cast("dict[str, Any]", request.scope), key, self.narrowed[key])
        return given, self._scope[key] if given is self.narrowed[key] else given

    def lift_for(self, name: str) -> None:
        """Show what the request itself has of this name."""
        self.lift(f"request.{name}", IN_MIDDLEWARE if name == "client" else DECLARE)

    def lift(self, what: str, remedy: str) -> None:
        """Show the whole request from now on, and say in the log why."""
        if not self.lifted:
            self.lifted = True
            self.scope.become_whole()  # type: ignore[attr-defined] # ours
            self._sight.tell(what, remedy, place_of_read())

    def shows(self, place: str, name: str) -> bool:
        """Return whether a field is in the key, or absent from every run."""
        if self.lifted:
            return True
        if place == "header":
            return name in self._sight.readable
        route = self._sight.route
        return not {name, ALL}.isdisjoint(route.query if place == "query" else route.cookies)


class OfView:
    """One of a view's veils."""

    def __init__(self, view: View) -> None:
        self._view = view

    @property
    def lifted(self) -> bool:
        """Whether there is no veil any more."""
        return self._view.lifted

    def by_hand(self, what: str, remedy: str) -> None:
        """Lift the veil unless it is a framework that reads, which does so for every route."""
        if not self._view.lifted and not is_framework(next(readers())):
            self._view.lift(what, remedy)


class OfHeaders(OfView):
    """Who asks for a header by name, or looks at all."""

    def look(self, name: str) -> None:
        """Hear that a header is asked for."""
        name = str(name).lower()
        if not self._view.shows("header", name):
            self._view.lift(f"The header {name!r}", vary(name))

    def look_at_all(self) -> None:
        """Hear that all headers are read."""
        self.by_hand("A header that is none of its parameters", BY_NAME)


class OfQuery(OfView):
    """Who asks for a query parameter by name, or looks at all."""

    def look(self, name: str) -> None:
        """Hear that a parameter is asked for."""
        if not self._view.shows("query", name):
            self._view.lift(f"The query parameter {name!r}", vary(f"query:{name}"))

    def look_at_all(self) -> None:
        """Hear that all parameters are read."""
        self.by_hand("Every query parameter", vary("query:*"))


class OfCookies(OfView):
    """Who asks for a cookie by name, or looks at all."""

    def look(self, name: str) -> None:
        """Hear that a cookie is asked for."""
        if not self._view.shows("cookie", name):
            self._view.lift(f"The cookie {name!r}", vary(f"cookie:{name}"))

    def look_at_all(self) -> None:
        """Hear that all cookies are read."""
        self.by_hand("Every cookie", vary("cookie"))


class OfScope(OfView):
    """Who reads the scope itself."""

    def look(self, name: str) -> None:
        """Hear that something is asked for that is not there, or only as it is in the key."""
        remedy = {"headers": BY_HAND, "query_string": vary("query:*"), "client": IN_MIDDLEWARE}
        self.by_hand(f"scope[{name!r}]", remedy.get(name, DECLARE))

    def look_at_all(self) -> None:
        """Hear that all of it is read, or copied."""
        self.by_hand("The whole scope", BY_HAND)


class OfState(OfView):
    """Who reads what a middleware left for the route."""

    def look(self, name: str) -> None:
        """Hear that something is asked for that the run did not leave there itself."""
        self.by_hand(f"request.state.{name}", DECLARE)

    def look_at_all(self) -> None:
        """Hear that all of it is read."""
        self.by_hand("request.state", DECLARE)


def vary(field: str) -> str:
    """Return the remedy for a field that can be part of a key."""
    return f"add vary=({field!r},) to cache_response, or declare a parameter"


def cookies_of(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the cookies of a request, as Starlette reads them."""
    cookies: dict[str, str] = {}
    for name, value in headers:
        if name == b"cookie":
            cookies.update(cookie_parser(value.decode("latin-1")))
    return cookies


def place_of_read() -> str:
    """Return the line of the user's code, or of a middleware, that reads; "" for none."""
    frame: FrameType | None = next((one for one in readers() if not is_framework(one)), None)
    if frame is None:
        return ""
    file = Path(frame.f_code.co_filename)
    return f"{'/'.join(file.parts[-2:])}:{frame.f_lineno} in {frame.f_code.co_qualname}"
