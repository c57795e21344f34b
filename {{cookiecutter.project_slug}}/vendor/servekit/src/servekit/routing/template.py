"""Routes of a request: its template, for labels and log lines, and what else its path takes."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from servekit.routing.routes import Routes, route_path
from servekit.scope import PASSAGE_KEY, SCOPE_KEY


def route_template(scope: Scope) -> str:
    """Return the full template, such as `/api/items/{id}`; "" before routing or without a match.

    FastAPI nests included routers, so `scope["route"].path` lacks the outer prefix; the effective
    context has it. Neither knows of mounts, and a route of Starlette's leaves only its endpoint.
    """
    passage = scope.get(PASSAGE_KEY)
    if passage is not None and passage.inner is not None:
        scope = passage.inner
    if "app_root_path" in scope:
        return template_by_table(scope, root_path=scope["app_root_path"])
    fastapi = scope.get("fastapi")
    if fastapi is not None:
        context = fastapi.get("effective_route_context")
        if context is not None:
            path: str = context.path
            return path
    route = scope.get("route")
    if route is not None:
        return getattr(route, "path", "")
    return template_by_table(scope, scope.get("root_path", "")) if "endpoint" in scope else ""


def template_by_table(scope: Scope, root_path: str) -> str:
    """Return the templates of a request's mounts and route; `root_path` is what it came with."""
    service: Any = scope.get(SCOPE_KEY)
    if service is None:
        return ""
    return "".join(entry.path for entry in service.routes().way({**scope, "root_path": root_path}))


def allowed_methods(routes: Routes, scope: Scope) -> list[str]:
    """Return the documented methods of the first template that a path matches; none without one.

    Starlette's own 405 names those of one route, and a resource has several.
    """
    matching = [entry for entry in routes.at(route_path(scope)) if entry.methods]
    return sorted(
        {
            method
            for entry in matching
            if entry.path == matching[0].path and getattr(entry.route, "include_in_schema", True)
            for method in entry.methods or ()
        }
    )
