"""What packages do to an application from outside works in ours as in a plain one."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRouter
from starlette.middleware.errors import ServerErrorMiddleware

from servekit import Service, Settings
from servekit.install import entrance


@pytest.fixture
def app(make_settings):
    app = FastAPI()
    Service(make_settings(Settings)).install(app)
    app.get("/")(lambda: "hello")
    return app


def test_whoever_walks_the_stack_comes_to_the_router(app):
    entrance(app)
    layer: Any = app.middleware_stack
    kinds = []
    while hasattr(layer, "app") and not isinstance(layer, APIRouter):
        kinds.append(type(layer).__name__)
        layer = layer.app
    assert isinstance(layer, APIRouter), kinds
    assert len(kinds) > 10


def test_what_wraps_the_stack_when_it_is_built_finds_starlettes_outermost_class(app):
    """As OpenTelemetry's instrumentation of FastAPI does it."""
    build, found = app.build_middleware_stack, []

    def build_wrapped():
        stack = build()
        found.append(isinstance(stack, ServerErrorMiddleware))
        return ServerErrorMiddleware(stack)

    app.build_middleware_stack = build_wrapped
    entrance(app)
    assert found == [True]
