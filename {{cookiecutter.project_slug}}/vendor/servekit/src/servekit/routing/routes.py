"""The routes of an application as one flat, indexed table: which of them answers a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from starlette.applications import Starlette
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import BaseRoute, Host, Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from servekit.routing.index import PathIndex

RECENT_PATHS = 1024
RECENT_LENGTH = 256
BY_PATTERN = frozenset({APIRoute.matches, Route.matches})
INDEXED = BY_PATTERN | {APIWebSocketRoute.matches, WebSocketRoute.matches, Mount.matches}


class Entry:
    """One route as the application has it: what its routers add is included.

    `seen` tells path, methods and dependencies; `matches` is asked where a pattern and methods are
    not all that decides.
    """

    def __init__(
        self, route: BaseRoute, seen: Any, matches: Callable[[Scope], tuple[Match, Scope]]
    ) -> None:
        self.route = route
        self.path: str = getattr(seen, "path", None) or ""
        self.template: str = getattr(seen, "path_format", None) or ""
        self.methods: Collection[str] = getattr(seen, "methods", None) or ()
        self.endpoint: Callable[..., Any] | None = getattr(seen, "endpoint", None)
        self.dependant: Any = getattr(seen, "dependant", None)
        self.max_body_size: int | None = getattr(seen, "max_body_size", None)
        self.regex: re.Pattern[str] | None = getattr(seen, "path_regex", None)
        self.convertors: dict[str, Any] = getattr(seen, "param_convertors", None) or {}
        self.matches = matches
        kind = None if "matches" in vars(route) else type(route).matches
        self.by_pattern = kind in BY_PATTERN
        self.match = self.regex.match if self.regex is not None else no_match
        self.mounted = mounted_routes(route)
        """What tells the routes inside of a mount, where they can be seen."""
        self.limits_bodies = self.max_body_size is not None or limits_bodies(route)
        """Whether the route, the mount or the mounted application has a limit of its own."""
        self.indexed = (
            kind in INDEXED
            and self.regex is not None
            and self.regex.flags == re.UNICODE
            and self.regex.pattern == usual_pattern(self.template, self.convertors)
        )


class Routed:
    """The entry that answers; not `full` where it knows the path and not the method.

    `match` is of the entry's pattern; without one the entry itself said what to add to the scope.
    Requests share it.
    """

    __slots__ = ("child_scope", "entry", "full", "match")

    def __init__(
        self,
        entry: Entry,
        match: re.Match[str] | None,
        full: bool = True,
        child_scope: Scope | None = None,
    ) -> None:
        self.entry = entry
        self.full = full
        self.match = match
        self.child_scope = child_scope

    def enter(self, scope: Scope) -> None:
        """Put into the scope of a request what its pattern found."""
        entry = self.entry
        params = dict(scope.get("path_params", ()))
        if self.match is not None and entry.convertors:
            for name, text in self.match.groupdict().items():
                params[name] = entry.convertors[name].convert(text)
        scope["endpoint"] = entry.endpoint
        scope["path_params"] = params


class Routes:
    """A table of entries in the application's order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self._index: PathIndex[Entry] = PathIndex()
        self._recent: dict[tuple[str, str | None], Routed] = {}
        for entry in self.entries:
            if entry.indexed:
                self._index.add(entry, entry.template, entry.convertors)
            else:
                self._index.add_anywhere(entry)

    def of(self, scope: Scope, method: str | None = None) -> Entry | None:
        """Return the entry that answers this request, or another method's; None for 404 and 405."""
        if method is not None and method != scope["method"]:
            scope = {**scope, "method": method}
        routed = self.find(scope)
        return routed.entry if routed is not None and routed.full else None

    def way(self, scope: Scope) -> list[Entry]:
        """Return the mounts that lead to a request's route, and last the route if there is one."""
        routed = self.find(scope)
        if routed is None or not routed.full:
            return []
        entry = routed.entry
        if entry.mounted is None or routed.child_scope is None:
            return [entry]
        return [entry, *entry.mounted().way({**scope, **routed.child_scope})]

    def applications(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield the mounted applications, however deep, with the templates of their places."""
        for entry in self.entries:
            if entry.mounted is not None:
                yield prefix + entry.path, mounted_application(entry.route)
                yield from entry.mounted().applications(prefix + entry.path)

    def at(self, path: str) -> list[Entry]:
        """Return all entries whose pattern matches a path, whatever their methods."""
        candidates = self._index.candidates(path)
        return [entry for entry in candidates if entry.regex and entry.regex.match(path)]

    def find(self, scope: Scope) -> Routed | None:
        """Return what FastAPI would choose: the first full match, else the first partial one.

        Several layers ask for each request, and clients for few paths: what path and method alone
        decided is remembered for a while.
        """
        path, method = scope["path"], scope.get("method")
        if scope.get("root_path"):
            path = route_path(scope)
        known = self._recent.get((path, method))
        if known is not None and scope["type"] == "http":
            return known
        routed, for_good = self._match(path, method, scope)
        if for_good and routed is not None and routed.full and method in routed.entry.methods:
            self._remember(path, method, routed)
        return routed

    def is_settled(self, scope: Scope) -> bool:
        """Tell whether path and method alone decided which route answers a request lately."""
        path = route_path(scope) if scope.get("root_path") else scope["path"]
        return (path, scope["method"]) in self._recent

    def _remember(self, path: str, method: str | None, routed: Routed) -> None:
        if len(path) <= RECENT_LENGTH:
            if len(self._recent) >= RECENT_PATHS:
                self._recent.clear()
            self._recent[path, method] = routed

    def _match(self, path: str, method: str | None, scope: Scope) -> tuple[Routed | None, bool]:
        """Return the best match, and whether path and method were all that decided."""
        is_http = scope["type"] == "http"
        partial: Routed | None = None
        for_good = True
        for entry in self._index.candidates(path):
            if not entry.by_pattern:
                for_good = False
                match, child_scope = entry.matches(scope)
                if match is Match.NONE:
                    continue
                full = match is Match.FULL
                routed = Routed(entry, None, full=full, child_scope=child_scope)
            else:
                found = entry.match(path) if is_http else None
                if found is None:
                    continue
                full = not entry.methods or method in entry.methods
                routed = Routed(entry, found, full=full)
            if routed.full:
                return routed, for_good
            partial = partial or routed
        return partial, for_good


def walk(dependant: Any) -> Iterator[Any]:
    """Yield a dependant and all that it depends on."""
    yield dependant
    for part in dependant.dependencies:
        yield from walk(part)


def usual_pattern(template: str, convertors: Mapping[str, Any]) -> str:
    """Return the pattern that Starlette makes of a path: an index knows what it matches."""
    pattern, rest = "", template
    for name, convertor in convertors.items():
        text, _, rest = rest.partition(f"{{{name}}}")
        pattern += f"{re.escape(text)}(?P<{name}>{convertor.regex})"
    return f"^{pattern}{re.escape(rest)}$"


def no_match(_: str) -> None:
    """Match nothing."""


def read_routes(app: Starlette | Mount | Host) -> Routes:
    """Return the routes of an application, or of what has routes, by public means."""
    return Routes(
        Entry(context.original_route, context, context.matches)
        for context in iter_route_contexts(app.routes)
    )


def mounted_routes(route: BaseRoute) -> Callable[[], Routes] | None:
    """Return what tells the routes of a mounted application; None where nothing is mounted."""
    if not isinstance(route, Mount | Host):
        return None
    table, seen = Routes(()), list[BaseRoute]()

    def read() -> Routes:
        nonlocal table, seen
        mounted = mounted_application(route)
        if (now := list(mounted.routes) if has_routes(mounted) else []) != seen:
            table, seen = read_routes(mounted), now
        return table

    return read


def mounted_application(route: Any) -> Any:
    """Return what a mount or a host holds, without what was put around that, if it can be seen."""
    *_, innermost = wrappers(route)
    return innermost


def wrappers(route: Any) -> Iterator[Any]:
    """Yield what is mounted, from the outermost middleware to what has routes."""
    inner = route.app
    while inner is not None:
        yield inner
        inner = None if has_routes(inner) else getattr(inner, "app", None)


def has_routes(app: Any) -> bool:
    """Return whether an application has routes as Starlette's do; other frameworks' are theirs."""
    routes = getattr(app, "routes", None)
    return isinstance(routes, list) and all(isinstance(each, BaseRoute) for each in routes[:1])


def limits_bodies(route: BaseRoute) -> bool:
    """Return whether a mount, or the application that it holds, limits bodies itself."""
    if not isinstance(route, Mount | Host):
        return False
    return any(
        isinstance(each, RequestBodyLimitMiddleware)
        or getattr(each, "max_body_size", None) is not None
        for each in wrappers(route)
    )


def route_path(scope: Scope) -> str:
    """Return the path below the application's `root_path`, as Starlette matches it."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if not root_path or not path.startswith(root_path):
        return path
    rest = path[len(root_path) :]
    return rest if not rest or rest.startswith("/") else path
