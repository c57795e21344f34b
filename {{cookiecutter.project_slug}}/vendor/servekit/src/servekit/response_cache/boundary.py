"""Where the application's middleware begins, when it stands around the cache.

It then runs for every request, hits too, and sees the request as it came. What it leaves for the
route is in no key: the cache knows it by what there was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Scope

BOUNDARY_KEY = "servekit.boundary"
LETS_EVERYBODY_IN = (
    *(CORSMiddleware, GZipMiddleware),
    *(HTTPSRedirectMiddleware, TrustedHostMiddleware),
)
"""Middleware that keeps nobody from a page; of any other the cache cannot know."""

OF_PAGE = frozenset(
    {
        *("scheme", "method", "path", "raw_path", "root_path", "app_root_path"),
        *("app", "router", "route", "endpoint", "path_params"),
    }
)
"""Keys of a scope that may change on the way to a route: by the page, not by who asks."""

FOR_LOGS = frozenset({"correlation_id", "request_id", "trace_id", "span_id", "current_context"})
"""Context variables that say which request this is, for logs and traces, and not who asks."""
OF_RUNTIME = frozenset({"decimal_context", "current_async_library_cvar"})
FOR_LOGS |= OF_RUNTIME


@dataclass(frozen=True, slots=True)
class Boundary:
    """What a request had before the application's middleware saw it."""

    scope: dict[str, Any]
    state: dict[str, Any]
    context: Context

    @classmethod
    def of(cls, scope: Scope) -> Boundary:
        """Return what a request has now."""
        return cls(dict(scope), dict(scope.get("state", ())), copy_context())

    def has(self, key: str, value: object) -> bool:
        """Return whether a key of the scope was there and is as it was, or names the page."""
        before = self.scope.get(key, self)
        return before is not self and (before is value or key in OF_PAGE)

    def unchanged(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a request's state is as it was."""
        return {key: value for key, value in self.state.items() if state.get(key, self) is value}

    def changed_variable(self) -> str | None:
        """Return the name of a context variable that was set since, if any was.

        Nobody is heard who reads one, so that a route may have is enough.
        """
        before = self.context
        for variable, value in copy_context().items():
            if before.get(variable, before) is not value and shapes_answers(variable.name):
                return variable.name
        return None


def shapes_answers(variable: str) -> bool:
    """Return whether a context variable may be read for what an answer says."""
    return variable not in FOR_LOGS and not variable.startswith("structlog_")
