"""The route template of a request, for labels and log lines."""

from __future__ import annotations

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
