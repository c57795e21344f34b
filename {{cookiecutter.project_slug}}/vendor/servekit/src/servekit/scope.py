"""The name under which the scope of a request holds its service."""

from contextvars import ContextVar
from typing import Any

SCOPE_KEY = "servekit.service"

SESSION_KEY = "servekit.session"
"""Where the scope of a request has its session; not `session`, which is Starlette's own."""

SESSION_HEADERS_KEY = "servekit.session_headers"
"""Where a scope has what returns the headers with the session's cookie, if it hides that."""

current_service: ContextVar[Any] = ContextVar("current_service", default=None)
"""The service whose request or lifespan runs here; tasks that these start inherit it."""
