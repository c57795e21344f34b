"""Where the application's middleware begins, when it stands around the cache.

It then runs for every request, hits too, and sees the request as it came. What it leaves for the
route is in no key: the cache knows it by what there was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Scope
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

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

FOR_LOGS = frozenset({"correlation_id", "request_id", "trace_id", "span_id"})
"""Context variables that say which request this is, for logs: a run for all has none of them."""
OF_RUNTIME = frozenset({"decimal_context", "current_async_library_cvar"})


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
        """Return the name of a context variable that was set since and cannot be hidden, if any.

        Nobody is heard who reads one, so that a route may have is enough.
        """
        for variable, value in self._changed():
            try:
                self._shared(variable, value)
            except LookupError:
                return variable.name
        return None

    def hide_variables(self) -> None:
        """Let what runs in this context, for all, see what was there before middleware set more."""
        for variable, value in self._changed():
            with suppress(LookupError):  # not where this is called
                variable.set(self._shared(variable, value))

    def _changed(self) -> list[tuple[ContextVar[Any], Any]]:
        before = self.context
        return [
            (variable, value)
            for variable, value in copy_context().items()
            if before.get(variable, before) is not value and variable.name not in OF_RUNTIME
        ]

    def _shared(self, variable: ContextVar[Any], value: Any) -> Any:
        """Return what a run for all may see of a variable.

        Raises:
            LookupError: It may shape answers, or there is no value that says nothing.
        """
        if is_opentelemetrys(value):
            return span_alone(value)
        is_structlogs = variable.name.startswith(STRUCTLOG_KEY_PREFIX)
        if not is_structlogs and variable.name not in FOR_LOGS:
            raise LookupError
        if variable in self.context:
            return self.context[variable]
        return ... if is_structlogs else Context().run(variable.get)  # the default


def is_opentelemetrys(value: Any) -> bool:
    """Return whether a value is a context of OpenTelemetry's, as its own variable holds one."""
    if not type(value).__module__.startswith("opentelemetry."):
        return False
    from opentelemetry.context import Context as OpenTelemetryContext

    return isinstance(value, OpenTelemetryContext)


def span_alone(context: Any) -> Any:
    """Return a context of OpenTelemetry's with its span, and without baggage and the like."""
    from opentelemetry import trace  # it is there: the context is its
    from opentelemetry.context import Context as OpenTelemetryContext

    return trace.set_span_in_context(trace.get_current_span(context), OpenTelemetryContext())
