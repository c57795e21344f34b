"""What an application says of requests from other sites, by its CORS layers and its routes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Host, Mount
from starlette.types import Scope

from servekit.routing.routes import Entry, Routes, has_routes, read_routes


class AllowCrossSite:
    """A dependency that does nothing when it is called: the cross-site layer looks for it."""

    def __init__(self, origins: frozenset[str]) -> None:
        self.origins = origins

    async def __call__(self) -> None:
        """Let the request pass; it would not be here otherwise."""

    def admits(self, origin: str) -> bool:
        """Return whether pages of an origin may send what they want."""
        return not self.origins or origin in self.origins


def allow_cross_site(*origins: str) -> AllowCrossSite:
    """Return a dependency that takes what other sites' pages make browsers send to a route.

    For an identity provider's `form_post`, for example. `origins` are exact,
    `https://login.example.com`; without any, all. The route itself must then tell whether the user
    meant it, by a `state` or a token: a session's cookie does not come along (SameSite=Lax).
    """
    return AllowCrossSite(frozenset(origin.lower() for origin in origins))


class CrossSiteRules:
    """Tells what an application lets in, its mounted applications included.

    It is asked for what would else be refused, so that it costs no other request anything.
    """

    def __init__(self, app: Starlette, routes: Callable[[], Routes]) -> None:
        self._app = app
        self._routes = routes
        self._mounted: dict[Entry, Routes] = {}
        self._cors: dict[Starlette, list[CORSMiddleware]] = {}

    def admit(self, scope: Scope, origin: str) -> bool:
        """Return whether a CORS layer or a dependency on the way to the route lets it in."""
        carries_cookies = any(name == b"cookie" for name, _ in scope["headers"])
        for part in self._on_the_way(scope):
            if isinstance(part, Entry):
                admitted = any(rule.admits(origin.lower()) for rule in rules(part.dependant))
            else:
                admitted = admits(part, origin, carries_cookies=carries_cookies)
            if admitted:
                return True
        return False

    def _on_the_way(self, scope: Scope) -> Iterator[CORSMiddleware | Entry]:
        """Yield what could let a request in, from the application to the route."""
        app: Any = self._app
        routes = self._routes()
        while True:
            if isinstance(app, Starlette):
                yield from self._cors_layers(app)
            entry = routes.of(scope)
            if entry is None:
                return
            yield entry
            if not isinstance(entry.route, Mount | Host):
                return
            scope = {**scope, **entry.matches(scope)[1]}
            app = entry.route.app
            # What was put around a mounted application, until there is something with routes.
            while app is not None and not has_routes(app):
                if isinstance(app, CORSMiddleware):
                    yield app
                app = getattr(app, "app", None)
            if app is None:
                return
            if entry not in self._mounted:
                self._mounted[entry] = read_routes(app)
            routes = self._mounted[entry]

    def _cors_layers(self, app: Starlette) -> list[CORSMiddleware]:
        if app not in self._cors:
            self._cors[app] = cors_layers(app)
        return self._cors[app]


def cors_layers(app: Starlette) -> list[CORSMiddleware]:
    """Return the CORS layers that an application was given, made anew to be asked."""
    return [
        cls(nothing, *arguments, **options)
        for cls, arguments, options in app.user_middleware
        if inspect.isclass(cls) and issubclass(cls, CORSMiddleware)
    ]


def admits(cors: CORSMiddleware, origin: str, *, carries_cookies: bool) -> bool:
    """Return whether a CORS layer names an origin; `*` alone is for requests without cookies."""
    if cors.allow_all_origins:
        return cors.allow_credentials or not carries_cookies
    return cors.is_allowed_origin(origin)


def rules(dependant: Any) -> Iterator[AllowCrossSite]:
    """Yield the rules among all that a route depends on."""
    if dependant is None:
        return
    if isinstance(dependant.call, AllowCrossSite):
        yield dependant.call
    for part in dependant.dependencies:
        yield from rules(part)


async def nothing(*_: object) -> None:
    """Stand in for the application that a CORS layer wraps."""
