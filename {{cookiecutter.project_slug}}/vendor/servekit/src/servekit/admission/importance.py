"""Which requests overload refuses first, and which last: by route, or by path prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.types import Scope

from servekit.admission.queue import Importance
from servekit.routing.routes import Routes, route_path

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def critical(endpoint: Endpoint) -> Endpoint:
    """Let overload refuse a route last; stands below `@router.get(...)`."""
    endpoint.importance = "critical"  # type: ignore[attr-defined] # read by Importances
    return endpoint


def sheddable(endpoint: Endpoint) -> Endpoint:
    """Let overload refuse a route first; stands below `@router.get(...)`."""
    endpoint.importance = "sheddable"  # type: ignore[attr-defined] # read by Importances
    return endpoint


class Importances:
    """Tells a request's importance: by path prefix, then by its route's decorator, else normal."""

    def __init__(
        self,
        *,
        critical: Sequence[str] = (),
        sheddable: Sequence[str] = (),
        routes: Callable[[], Routes] | None = None,
    ) -> None:
        self._critical = tuple(critical)
        self._sheddable = tuple(sheddable)
        self._routes = routes

    def of(self, scope: Scope) -> Importance:
        """Return the importance of a request."""
        path = route_path(scope)
        if path.startswith(self._critical):
            return "critical"
        if path.startswith(self._sheddable):
            return "sheddable"
        routes = self._routes() if self._routes is not None else None
        entry = routes.of(scope) if routes is not None else None
        found: Importance = getattr(entry and entry.endpoint, "importance", "normal")
        if routes is not None and entry is not None and entry.mounted is not None:
            for inner in routes.way(scope):  # the innermost that says something
                found = getattr(inner.endpoint, "importance", found)
        return found
