"""A plugin of pytest: a service is installed in each FastAPI application that a client is given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from conformance.outcomes import Counted
from conformance.service import new_service
from servekit.install import Installation


async def internal_error(_: Request, __: Exception) -> PlainTextResponse:
    """Answer as FastAPI does when there is no handler."""
    return PlainTextResponse("Internal Server Error", 500)


FASTAPI_HANDLERS: dict[type[Exception], Any] = {
    HTTPException: http_exception_handler,
    RequestValidationError: request_validation_exception_handler,
}

make_client = TestClient.__init__
build = Installation.build


def make_client_of_service(self: TestClient, app: Any, *args: Any, **options: Any) -> None:
    """Make a client, once the application that it is given has a service."""
    if isinstance(app, FastAPI) and not hasattr(app.state, "servekit"):
        install(app)
    make_client(self, app, *args, **options)


def install(app: FastAPI) -> None:
    """Install a service as users do who want errors in FastAPI's words."""
    if app.middleware_stack is not None:
        return
    theirs: dict[type[Exception], Any] = {
        error: handler
        for error, handler in FASTAPI_HANDLERS.items()
        if app.exception_handlers.get(error) is handler
    }
    new_service().install(app)
    for error, handler in theirs.items():
        app.add_exception_handler(error, handler)
    if not {Exception, 500}.intersection(app.exception_handlers):
        app.add_exception_handler(Exception, internal_error)


def pytest_configure() -> None:
    """Take the place of what makes clients."""
    Installation.build = lambda self: Counted(build(self))  # type: ignore[method-assign] # the same
    TestClient.__init__ = make_client_of_service  # type: ignore[method-assign] # what a plugin is for
