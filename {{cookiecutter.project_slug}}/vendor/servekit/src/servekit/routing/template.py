"""Routes of a request: its template, for labels and log lines, and what else its path takes."""

from __future__ import annotations

from starlette.types import Scope

from servekit.routing.routes import Routes, route_path


def route_template(scope: Scope) -> str:
    """Return the full template, such as `/api/items/{id}`; "" before routing or without a match.

    FastAPI nests included routers, so `scope["route"].path` lacks the outer prefix; the effective
    context has it.
    """
    fastapi = scope.get("fastapi")
    if fastapi is not None:
        context = fastapi.get("effective_route_context")
        if context is not None:
            path: str = context.path
            return path
    route = scope.get("route")
    return getattr(route, "path", "") if route is not None else ""


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
