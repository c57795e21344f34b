"""Routes of a request: its template, for labels and log lines, and what else its path takes."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Scope


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


def allowed_methods(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """Return the documented methods of the first template that a path matches; none without one.

    Starlette's own 405 names those of one route, and a resource has several.
    """
    matching = [
        context
        for context in iter_route_contexts(routes)
        if context.methods and context.path_regex.match(path)
    ]
    return sorted(
        {
            method
            for context in matching
            if context.path == matching[0].path and context.include_in_schema
            for method in context.methods or ()
        }
    )
