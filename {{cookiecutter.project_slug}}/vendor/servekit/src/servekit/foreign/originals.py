"""Whether what the framework calls is its own: tools that trace put something in its place."""

from __future__ import annotations

from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware


def is_original(function: object, module: str, name: str) -> bool:
    """Return whether a function is the library's own, and nobody's who took its place."""
    return (
        getattr(function, "__module__", "") == module
        and getattr(function, "__qualname__", "") == name
        and not hasattr(function, "__wrapped__")
    )


def layers_are_original() -> bool:
    """Return whether nobody, as tools that trace do, replaced how the framework's layers work."""
    errors = "starlette.middleware.errors", "ServerErrorMiddleware.__call__"
    exceptions = "starlette.middleware.exceptions", "ExceptionMiddleware.__call__"
    exits = "fastapi.middleware.asyncexitstack", "AsyncExitStackMiddleware.__call__"
    return (
        is_original(ServerErrorMiddleware.__call__, *errors)
        and is_original(ExceptionMiddleware.__call__, *exceptions)
        and is_original(AsyncExitStackMiddleware.__call__, *exits)
    )
