"""A plugin of pytest: our layers stand around each application that a test client is given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from conformance.outcomes import Counted
from conformance.service import new_service
from servekit.routing.routes import Routes, read_routes
from servekit.stack import layers

make_client = TestClient.__init__


def make_client_of_layers(self: TestClient, app: Any, *args: Any, **options: Any) -> None:
    """Make a client of an application with our layers around it."""
    make_client(self, app, *args, **options)
    self.app = self._transport.app = layered(self.app)  # type: ignore[attr-defined] # its own kind


def layered(app: ASGIApp) -> ASGIApp:
    """Return an application with the layers of a service around it."""
    service, shell = new_service(), FastAPI()
    service.routes = lambda: Routes(())
    if isinstance(app, Starlette):
        service.routes = lambda: read_routes(app)
        shell.user_middleware = app.user_middleware  # some of it says what other sites may do
    stack = app
    for cls, args, options in reversed(layers(service, shell)):
        stack = cls(stack, *args, **options)
    return Counted(stack)


def pytest_configure() -> None:
    """Take the place of what makes clients."""
    TestClient.__init__ = make_client_of_layers  # type: ignore[method-assign] # what a plugin is for
