"""What a run of a cached route sees: what is in its key. All else is hidden, and says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import Scope

from servekit.foreign.requests import guard_requests
from servekit.layers.http_headers import header_value
from servekit.response_cache.declared import ALL
from servekit.response_cache.key import visible_cookies, visible_query
from servekit.response_cache.rfc9111 import accepted_codings
from servekit.response_cache.routes import ALWAYS_IN_KEY, FOR_TRACES, CacheableRoute

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

guard_requests(VIEW_KEY)


class HiddenField(RuntimeError):  # noqa: N818 - what it is about
    """A cached route read by hand what is not in its key: others would get the answer too."""


class View:
    """The guard of one route's runs: a request whose scope has it is read through it."""

    def __init__(self, route: CacheableRoute) -> None:
        self._route = route
        names = {name.decode("latin-1") for name in route.vary | ALWAYS_IN_KEY}
        self._readable = JUST_ABSENT | names

    def scope(self, scope: Scope, also: frozenset[bytes] = frozenset()) -> Scope:
        """Return the scope of a run: what is in the key, in the key's spelling; `also` fields."""
        route, visible = self._route, self._route.visible | also
        given = [item for item in scope["headers"] if item[0] in visible]
        headers = [item for item in given if item[0] not in SPELLED]
        headers += [(b"host", value.lower()) for name, value in given if name == b"host"]
        codings = accepted_codings(header_value(given, b"accept-encoding"))
        cookies = b"\n".join(value for name, value in given if name == b"cookie")
        cookies = visible_cookies(cookies, route.cookies)
        headers += [(b"accept-encoding", codings)] * bool(codings)
        headers += [(b"cookie", line) for line in cookies.split(b"\n") if line]
        return {
            **scope,
            "method": "GET",
            "http_version": "1.1",
            "headers": headers,
            "query_string": visible_query(scope["query_string"], route.query),
            "client": None,
            "extensions": {},
            VIEW_KEY: self,
        }

    def headers(self, request: HTTPConnection[Any]) -> Headers:
        """Return the request's headers; those for tracing are not the route's."""
        given = [item for item in request.scope["headers"] if item[0] not in FOR_TRACES]
        return VisibleHeaders(given, self)

    def query_params(self, request: HTTPConnection[Any]) -> QueryParams:
        """Return the query's parameters."""
        return VisibleQuery(request.scope["query_string"], self)

    def cookies(self, request: HTTPConnection[Any]) -> dict[str, str]:
        """Return the cookies."""
        cookies = VisibleCookies(self, foreign_sessions(request.scope))
        for name, value in request.scope["headers"]:
            if name == b"cookie":
                cookies.update(cookie_parser(value.decode("latin-1")))
        return cookies

    def client(self, _: HTTPConnection[Any]) -> NoReturn:
        """Refuse: no key has the client's address."""
        self.refuse("request.client", "")

    def session(self, _: HTTPConnection[Any]) -> NoReturn:
        """Refuse: no key has what Starlette's own sessions hold."""
        self.refuse("request.session", "")

    def check_header(self, name: str) -> None:
        """Refuse a header that is not there because it is hidden."""
        name = str(name).lower()
        if name not in self._readable:
            self.refuse(f"The header {name!r}", name)

    def check_query(self, name: str) -> None:
        """Refuse a query parameter that is not there because it is hidden."""
        if {name, ALL}.isdisjoint(self._route.query):
            self.refuse(f"The query parameter {name!r}", f"query:{name}")

    def check_cookie(self, name: str) -> None:
        """Refuse a cookie that is not there because it is hidden."""
        if {name, ALL}.isdisjoint(self._route.cookies):
            self.refuse(f"The cookie {name!r}", f"cookie:{name}")

    def refuse(self, what: str, vary: str) -> NoReturn:
        """Raise the error that names the field and what to do."""
        remedy = "drop its cache_response"
        if vary:
            remedy = f"add vary=({vary!r},) to its cache_response, declare a parameter, or drop it"
        raise HiddenField(
            f"{what} is not in the key of GET {self._route.path}, whose answers are kept for all: "
            f"{remedy}."
        )


class VisibleHeaders(Headers):
    """The headers in the key; to ask for another by name is an error."""

    def __init__(self, raw: list[tuple[bytes, bytes]], view: View) -> None:
        super().__init__(raw=raw)
        self._view = view

    def __getitem__(self, key: str) -> str:
        if not super().__contains__(key):
            self._view.check_header(key)
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        found = super().__contains__(key)
        if not found:
            self._view.check_header(key)
        return found

    def getlist(self, key: str) -> list[str]:
        """Return all values of a field."""
        values = super().getlist(key)
        if not values:
            self._view.check_header(key)
        return values


class VisibleQuery(QueryParams):
    """The parameters in the key; to ask for another by name is an error."""

    def __init__(self, query: bytes, view: View) -> None:
        super().__init__(query)
        self._view = view

    def __getitem__(self, key: str) -> str:
        if not super().__contains__(key):
            self._view.check_query(key)
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        found = super().__contains__(key)
        if not found:
            self._view.check_query(key)
        return found

    def getlist(self, key: Any) -> list[str]:
        """Return all values of a parameter."""
        values = super().getlist(key)
        if not values:
            self._view.check_query(key)
        return values


class VisibleCookies(dict[str, str]):
    """The cookies in the key; to ask for another by name is an error."""

    def __init__(self, view: View, just_absent: Iterable[str]) -> None:
        super().__init__()
        self._view = view
        self._just_absent = frozenset(just_absent)

    def __missing__(self, key: str) -> str:
        self._view.check_cookie(key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a cookie's value or `default`."""
        found = key in self  # which refuses what is hidden
        return self[key] if found else default

    def __contains__(self, key: Any) -> bool:
        if super().__contains__(key):
            return True
        if key not in self._just_absent:
            self._view.check_cookie(key)
        return False


def foreign_sessions(scope: Scope) -> list[str]:
    """Return the cookies that Starlette's own sessions look for, whether a route reads them or not.

    They find none; `request.session` says why.
    """
    return [
        layer.kwargs.get("session_cookie", "session")
        for layer in getattr(scope.get("app"), "user_middleware", ())
        if getattr(layer.cls, "__module__", "") == "starlette.middleware.sessions"
    ]
