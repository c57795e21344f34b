"""Which routes may be answered from the response cache, in mounted applications too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from starlette.types import Scope

from servekit.cache.dependencies import CacheResponse, cache_response
from servekit.response_cache.declared import Declared, declared_by, problems
from servekit.routing.routes import Entry, Routes, route_path, walk

# The key has these in one spelling for all clients.
ALWAYS_IN_KEY = frozenset({b"host", b"accept-encoding"})
# For whoever traces a run; a route does not see them.
FOR_TRACES = frozenset({b"traceparent", b"tracestate"})


class UncacheableRoute(TypeError):  # noqa: N818 - what it is about
    """A route depends on `cache_response` and its answers cannot be kept, or not as it says."""


@dataclass(slots=True, eq=False)
class CacheableRoute:
    """A route whose answers are cached, with what is in its key: all that a run of it sees.

    `outer` are the mounts on the way to it.
    """

    path: str
    entry: Entry
    policy: CacheResponse
    declared: Declared
    outer: tuple[Entry, ...] = ()
    query: frozenset[str] = field(init=False)
    cookies: frozenset[str] = field(init=False)
    key_headers: tuple[bytes, ...] = field(init=False)
    vary: frozenset[bytes] = field(init=False)
    visible: frozenset[bytes] = field(init=False)
    has_one_page: bool = field(init=False)
    """Whether its path, host and coding are all that its key is made of."""

    def __post_init__(self) -> None:
        self.query, self.cookies = self.declared.query, self.declared.cookies
        headers = {name.encode("latin-1") for name in self.declared.headers}
        self.key_headers = tuple(sorted(headers - ALWAYS_IN_KEY))
        self.vary = frozenset(headers | ({b"cookie"} if self.cookies else set())) - ALWAYS_IN_KEY
        self.visible = self.vary | ALWAYS_IN_KEY | FOR_TRACES
        self.has_one_page = not (self.query or self.cookies or headers - ALWAYS_IN_KEY)

    def __getattr__(self, name: str) -> Any:
        """Return what else `scope["route"]` is asked for."""
        return getattr(self.entry.route, name)

    def place(self, scope: Scope) -> tuple[str, dict[str, str]]:
        """Return the request's path and its parameters, in one spelling: `/p/07` is `/p/7`.

        Behind whichever prefix it was asked for: a write ends the pages of all.
        """
        entered = scope.get("app_root_path", scope.get("root_path", ""))
        for mount in self.outer:
            scope = {**scope, **mount.matches(scope)[1]}
        rest = route_path(scope)
        mounted_at = scope.get("root_path", "").removeprefix(entered)
        match = self.entry.regex.match(rest) if self.entry.regex is not None else None
        if match is None:
            return mounted_at + rest, {}
        params = {name: self._spelled(name, text) for name, text in match.groupdict().items()}
        path = self.entry.template
        for name, text in params.items():
            path = path.replace(f"{{{name}}}", text)
        return mounted_at + path, params

    def _spelled(self, name: str, text: str) -> str:
        value = self.entry.convertors[name].convert(text)
        for one in self.entry.dependant.path_params:
            if one.alias == name:
                found, errors = one.validate(value, loc=("path", name))
                value = value if errors else found
        return str(value.value if isinstance(value, Enum) else value)


class CacheableRoutes:
    """Matches requests with the cacheable routes that answer a GET of their paths."""

    def __init__(self, routes: Callable[[], Routes], outer: tuple[Entry, ...] = ()) -> None:
        self._routes = routes
        self._outer = outer
        self._known: dict[Entry, CacheableRoute | CacheableRoutes | None] = {}
        self._looked_through: Routes | None = None
        self._has_some = False

    def match(self, scope: Scope) -> CacheableRoute | None:
        """Return the route that answers a GET of the path, if its answers are cached."""
        entry = self._routes().of(scope, "GET")
        if entry is None:
            return None
        try:
            found = self._known[entry]
        except KeyError:
            found = self._known[entry] = self._look_at(entry)
        if type(found) is not CacheableRoutes:
            return found  # type: ignore[return-value] # there is no third kind
        if not found.has_some():
            return None
        return found.match({**scope, "method": "GET", **entry.matches(scope)[1]})

    def answers(self, scope: Scope) -> bool:
        """Return whether any route has the request's path and method, as far as can be seen."""
        return self._routes().of(scope) is not None

    def has_some(self) -> bool:
        """Return whether any route of the table, as it is now, is cacheable."""
        routes = self._routes()
        if self._looked_through is not routes:
            self._looked_through = routes
            self._has_some = any(policy_of(entry) for entry, _ in all_entries(routes))
        return self._has_some

    def _look_at(self, entry: Entry) -> CacheableRoute | CacheableRoutes | None:
        if entry.mounted is not None:
            return CacheableRoutes(entry.mounted, (*self._outer, entry))
        policy = policy_of(entry)
        if policy is None:
            return None
        path = "".join(mount.path for mount in self._outer) + entry.path
        declared = declared_by(entry.dependant, policy)
        return CacheableRoute(path, entry, policy, declared, self._outer)


def policy_of(entry: Entry) -> CacheResponse | None:
    """Return how an entry's answers are cached, as what is nearest to the route says."""
    if entry.dependant is None:
        return None
    parts = walk(entry.dependant)
    policies = [part.call for part in parts if isinstance(part.call, CacheResponse)]
    return policies[-1] if policies else None


def all_entries(routes: Routes, prefix: str = "") -> Iterator[tuple[Entry, str]]:
    """Yield all entries with their paths, those of mounted applications too."""
    for entry in routes.entries:
        yield entry, prefix + entry.path
        if entry.mounted is not None:
            yield from all_entries(entry.mounted(), prefix + entry.path)


def refuse_uncacheable(
    routes: Routes,
    never_kept: Iterable[Callable[..., Any]] = (),
) -> None:
    """Refuse what depends on `cache_response` and cannot be cached.

    Raises:
        UncacheableRoute: Each is named, with what to do.
    """
    kept = tuple(never_kept)
    found = [
        f"{'/'.join(sorted(entry.methods)) or 'WebSocket'} {path}: {problem}."
        for entry, path in all_entries(routes)
        for problem in [*uncalled(entry), *problems_of(entry, kept)]
    ]
    if found:
        raise UncacheableRoute("\n".join(dict.fromkeys(found)))


def problems_of(entry: Entry, never_kept: tuple[Callable[..., Any], ...]) -> Iterable[str]:
    """Return why the answers of a route that is to be cached cannot be."""
    policy = policy_of(entry)
    return () if policy is None else problems(entry, policy, never_kept)


def uncalled(entry: Entry) -> Iterator[str]:
    """Yield what is wrong with `Depends(cache_response)`, whose arguments clients would give."""
    parts = walk(entry.dependant) if entry.dependant is not None else ()
    if any(part.call is cache_response for part in parts):
        yield "`Depends(cache_response)` lacks the call: `Depends(cache_response(ttl_seconds=30))`"
