"""Which requests overload refuses first, and which last: by route, or by path prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from service.runtime.admission.line import Importance

NAMED_GROUP = re.compile(r"\(\?P<\w+>")

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
    """Tells the importance of a path: by prefix, then by the decorator of the route, else normal.

    Compiled at the first question, which comes with the first pressure.
    """

    def __init__(
        self,
        *,
        critical: Sequence[str] = (),
        sheddable: Sequence[str] = (),
        routes: Callable[[], Sequence[BaseRoute]] = tuple,
    ) -> None:
        self._prefixes = {"critical": critical, "sheddable": sheddable}
        self._routes = routes
        self._critical: re.Pattern[str] | None = None
        self._sheddable: re.Pattern[str]

    def of(self, path: str) -> Importance:
        """Return the importance of a request to `path`."""
        if self._critical is None:
            self._critical = self._pattern("critical")
            self._sheddable = self._pattern("sheddable")
        if self._critical.match(path):
            return "critical"
        return "sheddable" if self._sheddable.match(path) else "normal"

    def _pattern(self, importance: Importance) -> re.Pattern[str]:
        prefixes = [re.escape(prefix) for prefix in self._prefixes[importance]]
        return re.compile("|".join([*prefixes, *self._decorated(importance)]) or "(?!)")

    def _decorated(self, importance: Importance) -> Iterator[str]:
        for context in iter_route_contexts(self._routes()):
            endpoint = getattr(context.original_route, "endpoint", None)
            if getattr(endpoint, "importance", "normal") == importance:
                yield NAMED_GROUP.sub("(?:", context.path_regex.pattern)
