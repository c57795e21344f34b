"""A record of an error says where: the route, or the path where no route was found."""

import contextlib
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from structlog.testing import capture_logs

from servekit import Service
from servekit.testing.lifespan import Lifespan
from tests.asgi import http_scope


@pytest.mark.parametrize("place", ["application", "router", "mounted"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_route_is_the_whole_template_wherever_it_was_declared(settings, place, kind):
    app, router, inside = FastAPI(), APIRouter(prefix="/r"), FastAPI()
    Service(settings).install(app)
    found: dict[str, tuple[Any, str, str]] = {
        "application": (app, "/x/{n}", "/x/1"),
        "router": (router, "/api/r/x/{n}", "/api/r/x/1"),
        "mounted": (inside, "/sub/x/{n}", "/sub/x/1"),
    }
    target, template, path = found[place]

    async def socket(websocket: WebSocket, n: int) -> None:
        raise ZeroDivisionError

    async def route(n: int) -> None:
        raise ZeroDivisionError

    target.websocket("/x/{n}")(socket)
    target.get("/x/{n}")(route)
    app.include_router(router, prefix="/api")
    app.mount("/sub", inside)
    [record] = await failures(app, kind, path)
    assert record["route"] == template


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_what_fails_before_any_route_has_its_path(settings, kind):
    app = FastAPI()
    Service(settings).install(app)

    class Failing:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == kind:
                raise ZeroDivisionError
            await self.app(scope, receive, send)

    app.add_middleware(Failing)
    [record] = await failures(app, kind, "/lost")
    assert (record["route"], record["path"]) == ("", "/lost")


async def failures(app, kind, path):
    async def receive():
        return {"type": "websocket.connect" if kind == "websocket" else "http.request"}

    async def send(_):
        pass

    async with Lifespan(app) as running:
        scope: dict[str, Any] = {**http_scope(path, headers=[("host", "localhost")]), "type": kind}
        if kind == "websocket":
            scope |= {"scheme": "ws", "subprotocols": []}
            del scope["method"]
        with capture_logs() as logs, contextlib.suppress(ZeroDivisionError):
            await running(scope, receive, send)
    return [log for log in logs if log["event"] == "unhandled_exception"]
