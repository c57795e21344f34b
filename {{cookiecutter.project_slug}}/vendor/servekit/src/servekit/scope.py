"""The name under which the scope of a request holds its service."""

from contextvars import ContextVar
from typing import Any

SCOPE_KEY = "servekit.service"

current_service: ContextVar[Any] = ContextVar("current_service", default=None)
"""The service whose request or lifespan runs here; tasks that these start inherit it."""
