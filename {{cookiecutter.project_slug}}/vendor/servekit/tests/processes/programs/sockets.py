"""A program whose WebSockets end in every way."""

import asyncio

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketException
from starlette.middleware import Middleware

from servekit.draining import Draining
from servekit.layers.errors import ErrorsMiddleware
from servekit.layers.request_id import RequestIdMiddleware
from servekit.layers.security_headers import SecurityHeadersMiddleware
from servekit.logs import configure_logs
from servekit.supervisor.program import Program

HEADERS = [(b"x-content-type-options", b"nosniff")]


def program() -> Program:
    configure_logs("info", "json")
    app: object = application()
    for layer in (
        Middleware(ErrorsMiddleware),
        Middleware(SecurityHeadersMiddleware, headers=HEADERS),
        Middleware(RequestIdMiddleware),
    ):
        app = layer.cls(app, *layer.args, **layer.kwargs)  # type: ignore[arg-type] # each is an application
    return Program(asgi=app, draining=Draining(), error_headers=HEADERS)  # type: ignore[arg-type]


def application() -> FastAPI:
    app = FastAPI()
    talk(app)
    fail(app)
    return app


def talk(app: FastAPI) -> None:
    @app.websocket("/echo/{name}")
    async def echo(socket: WebSocket, name: str) -> None:
        await socket.accept()
        while True:
            await socket.send_text(await socket.receive_text())

    @app.websocket("/group")
    async def group(socket: WebSocket) -> None:
        await socket.accept()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(socket.receive_text())
            tasks.create_task(asyncio.sleep(30))

    @app.websocket("/sends")
    async def sends(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text("x" * 10_000)
            await asyncio.sleep(0)


def fail(app: FastAPI) -> None:
    @app.websocket("/broken/{when}")
    async def broken(socket: WebSocket, when: str) -> None:
        if when == "late":
            await socket.accept()
        raise ValueError("broken")

    @app.websocket("/closed")
    async def closed(socket: WebSocket) -> None:
        await socket.close(1008)

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> None:
        raise WebSocketException(1008)

    @app.websocket("/denied")
    async def denied(socket: WebSocket) -> None:
        raise HTTPException(401, "denied", {"www-authenticate": "Key"})
