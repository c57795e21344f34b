"""Compiles an application before the fork: an index in place of its routers, direct ways to answer.

FastAPI asks its routers one by one, so that the last of a thousand routes costs a hundred times the
first, and builds much at the first request. Here that is done once. What is not known to come to
the same goes FastAPI's way.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import URL
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.foreign.fastapi import (
    EffectiveRoute,
    IncludedRouter,
    answers_are_original,
    apply_form_limits,
    fastapi_scope,
    forget_candidates,
    has_low_priority_routes,
    route_selected,
    tell_of_changes,
    update_scope,
    wrap_app_with_body_limit,
)
from servekit.routing.direct import direct
from servekit.routing.early_calls import with_early_calls
from servekit.routing.routes import Entry, Routes, route_path

TELEMETRY = "fastapi.telemetry"


class CompiledEntry(Entry):
    """An entry and how it answers; `routers` are those that it was included through."""

    def __init__(
        self,
        route: BaseRoute,
        effective: EffectiveRoute | None = None,
        routers: tuple[IncludedRouter, ...] = (),
        mounted: CompiledRouter | None = None,
    ) -> None:
        seen: Any = route
        if effective is not None:
            seen = effective.starlette_route or effective
        super().__init__(route, seen, seen.matches)
        if mounted is not None:
            self.mounted = lambda: mounted.routes
        self.effective = effective
        self.routers = routers
        self.form_limits = [
            one.include_context.form_limits for one in routers if one.include_context.form_limits
        ]
        self.is_api_route = self.by_pattern and isinstance(route, APIRoute)
        self.telemetry_path: str | None = getattr(seen, "path_format", None)
        self.is_mount = isinstance(route, Mount)
        self.answer = with_early_calls(self._answer(route, seen), self.dependant)

    def _answer(self, route: BaseRoute, seen: Any) -> ASGIApp:
        """Return what answers a request that the entry matches in full."""
        if self.by_pattern and isinstance(route, APIRoute):
            return direct(route, seen) if answers_are_original() else route.handle
        handle: ASGIApp = seen.handle
        if self.routers:
            limit = self.routers[-1].include_context.max_body_size
            handle = wrap_app_with_body_limit(handle, limit)
        return handle

    def leave_marks(self, scope: Scope) -> None:
        """Leave in a scope what FastAPI's routers leave there on the way to the route."""
        for limits in self.form_limits:
            apply_form_limits(scope, limits)
        marks = fastapi_scope(scope)
        marks["included_router"] = self.routers[-1]
        if self.effective is not None:
            marks["effective_route_context"] = self.effective


class CompiledRouter:
    """Stands in a router's place; compiles anew when FastAPI would see other routes."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        self._usual: ASGIApp = router.app
        self._stale = True
        self.compiling = False
        self._compiled: list[CompiledEntry] = []
        self._routes: Routes = Routes(())
        self._contents: list[tuple[APIRouter, list[BaseRoute]]] = []
        self._included_routers: list[IncludedRouter] = []
        self._seen: list[BaseRoute] = []
        self._has_low_priority = False

    @property
    def routes(self) -> Routes:
        """The table, as it is now."""
        if self._stale or self._router.routes is not self._seen:
            self._compile()
        return self._routes

    @property
    def entries(self) -> list[CompiledEntry]:
        """The same, in the order in which FastAPI tries them."""
        _ = self.routes
        return self._compiled

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._usual(scope, receive, send)
        routed = self.routes.find(scope)
        if routed is None:
            return self._refuse(scope, receive, send)
        router = self._router
        if router.form_limits:
            apply_form_limits(scope, router.form_limits)
        if "router" not in scope:
            scope["router"] = router
        entry: CompiledEntry = routed.entry  # type: ignore[assignment] # our table holds no other
        if entry.by_pattern:
            routed.enter(scope)
        else:
            update_scope(scope, routed.child_scope or {})
        if entry.routers:
            entry.leave_marks(scope)
        if TELEMETRY in scope:
            route_selected(scope=scope, path=entry.telemetry_path, mount=entry.is_mount)
        if not entry.is_api_route:
            return entry.answer(scope, receive, send)
        scope["route"] = entry.route
        if routed.full:
            return entry.answer(scope, receive, send)
        return entry.route.handle(scope, receive, send)  # 405, in FastAPI's words

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect to the path with or without its slash, or answer 404."""
        router, path = self._router, route_path(scope)
        if "router" not in scope:
            scope["router"] = router
        if scope["type"] == "http" and router.redirect_slashes and path != "/":
            other = dict(scope)
            other["path"] = other["path"].rstrip("/") if path.endswith("/") else other["path"] + "/"
            routed = self._routes.find(other)
            if routed is not None:
                if TELEMETRY in scope:
                    entry: Any = routed.entry
                    route_selected(scope=scope, path=entry.telemetry_path)
                redirect = RedirectResponse(url=str(URL(scope=other)))
                await redirect(scope, receive, send)
                return
        if self._has_low_priority:
            await self._usual(scope, receive, send)
        else:
            await router.default(scope, receive, send)

    def _compile(self) -> None:
        router = self._router
        self._stale, self.compiling = False, True
        self._contents, self._included_routers = [], []
        self._watch(router)
        self._seen = router.routes = WatchedRoutes(router.routes, self.mark_stale)
        self._compiled = list(self._entries(router.routes))
        self._routes = Routes(self._compiled)
        self._has_low_priority = has_low_priority_routes(router)
        self.compiling = False

    def _entries(self, routes: Iterable[BaseRoute]) -> Iterator[CompiledEntry]:
        for route in routes:
            if not isinstance(route, IncludedRouter):
                yield CompiledEntry(route, mounted=self._compile_mounted(route))
            elif includes_only_usual(route):
                yield from self._included(route, ())
            else:
                self._watch(route.original_router)
                yield CompiledEntry(route)

    def _included(
        self, included: IncludedRouter, outer: tuple[IncludedRouter, ...]
    ) -> Iterator[CompiledEntry]:
        self._watch(included.original_router)
        self._included_routers.append(included)
        chain = (*outer, included)
        for candidate in included.effective_candidates():
            if isinstance(candidate, IncludedRouter):
                yield from self._included(candidate, chain)
            else:
                mounted = self._compile_mounted(candidate.starlette_route)
                yield CompiledEntry(candidate.original_route, candidate, chain, mounted)

    def _compile_mounted(self, mount: BaseRoute | None) -> CompiledRouter | None:
        """Compile a mounted application of FastAPI's too."""
        app: Any = mount.app if isinstance(mount, Mount) else None
        router = app.router if isinstance(app, FastAPI) else app
        compiled = compile_router(router) if isinstance(router, APIRouter) else None
        if compiled is not None and not compiled.compiling:
            compiled.compile_anew()
        return compiled

    def _watch(self, router: APIRouter) -> None:
        """Hear of what is added to a router later, where FastAPI does."""
        tell_of_changes(router, self)
        self._contents.append((router, list(router.routes)))

    def mark_stale(self) -> None:
        """Compile anew at the next request: routes were added, or taken away."""
        self._stale = True

    def compile_anew(self) -> None:
        """Compile once more, as a lifespan may change what FastAPI reads at the first request."""
        if any(list(router.routes) != then for router, then in self._contents):
            for included in self._included_routers:
                forget_candidates(included)
        self._compile()


def includes_only_usual(included: IncludedRouter) -> bool:
    """Return whether a router, and all that it includes, match and answer as FastAPI's do."""
    router = included.original_router
    kind = type(router)
    if kind.matches is not APIRouter.matches or kind.handle is not APIRouter.handle:
        return False
    return all(
        includes_only_usual(route)
        if isinstance(route, IncludedRouter)
        else not isinstance(route, APIRoute)
        or (type(route).matches is APIRoute.matches and "matches" not in vars(route))
        for route in router.routes
    )


def compile_router(router: APIRouter) -> CompiledRouter | None:
    """Put a compiled router in a router's place; None where it is not one of FastAPI's own kind."""
    stack: Any = router.middleware_stack
    if isinstance(stack, CompiledRouter):
        return stack
    if type(router).app is not APIRouter.app or type(router).__call__ is not APIRouter.__call__:
        return None
    compiled = CompiledRouter(router)
    if stack == router.app:
        router.middleware_stack = compiled  # type: ignore[assignment] # it returns what is awaited
        return compiled
    # A limit of the router's own stands around it.
    while getattr(stack, "app", None) not in (None, router.app):
        stack = stack.app
    if getattr(stack, "app", None) != router.app:
        return None
    stack.app = compiled
    return compiled


class WatchedRoutes(list[BaseRoute]):
    """A router's list of routes that tells when it has changed."""

    def __init__(self, routes: Iterable[BaseRoute], changed: Callable[[], None]) -> None:
        super().__init__(routes)
        self.changed = changed


def telling(name: str) -> Any:
    """Return the method of a list that tells afterwards."""
    method = getattr(list, name)

    @functools.wraps(method)
    def change(self: WatchedRoutes, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        finally:
            self.changed()

    return change


for name in (
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(WatchedRoutes, name, telling(name))
