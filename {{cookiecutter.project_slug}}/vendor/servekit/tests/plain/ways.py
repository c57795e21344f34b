"""The three ways to run an application: bare, with a service in process, and in real workers."""

import asyncio
import time
from typing import Any

import httpx2
import websockets
from fastapi import FastAPI
from starlette.types import ASGIApp

from servekit.testing import RunningService, patience
from servekit.testing.lifespan import Lifespan
from tests.asgi import http_scope
from tests.plain.asks import Answer, Ask, Talk, own_headers

HOST = {"host": "localhost"}


async def in_process(app: FastAPI, asks: list[Ask | Talk]) -> list[Any]:
    """Return what an application answers under its own lifespan, and no server."""
    async with Lifespan(app) as running:
        transport = httpx2.ASGITransport(app=running, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                await ask_one(client, ask) if isinstance(ask, Ask) else await talk(running, ask)
                for ask in asks
            ]


async def in_workers(service: RunningService, asks: list[Ask | Talk]) -> list[Any]:
    """Return what a running service answers, all on one connection: of one of its workers."""
    async with httpx2.AsyncClient(base_url=service.url, timeout=patience(10)) as client:
        return [
            await ask_one(client, ask)
            if isinstance(ask, Ask)
            else await talk_over_network(service.url, ask)
            for ask in asks
        ]


async def ask_one(client: httpx2.AsyncClient, ask: Ask) -> Answer:
    """Send a request, again and again where its answer comes after a while."""
    deadline = time.monotonic() + patience(5)
    while True:
        got = await client.request(
            ask.method, ask.path, headers=HOST | ask.headers, json=ask.json, content=ask.content
        )
        if ask.until in {None, got.text} or time.monotonic() > deadline:
            return Answer(got.status_code, got.text, own_headers(got.headers.multi_items()))
        await asyncio.sleep(0.01)


async def talk(app: ASGIApp, ask: Talk) -> list[Any]:
    """Return what comes over a WebSocket without a server: texts, and at last the code."""
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    to_app.put_nowait({"type": "websocket.connect"})
    heard: list[Any] = []
    texts = list(ask.texts)

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            heard.append("accepted")
        elif message["type"] == "websocket.send":
            heard.append(message["text"])
        elif heard:
            heard.append(message["code"])
        if heard and texts:
            to_app.put_nowait({"type": "websocket.receive", "text": texts.pop(0)})

    async with asyncio.timeout(patience(5)):
        await app(websocket_scope(ask), to_app.get, send)
    return heard or ["refused"]


def websocket_scope(ask: Talk) -> Any:
    headers = list((HOST | ask.headers).items())
    scope = dict(http_scope(ask.path, headers=headers))
    del scope["method"]
    return scope | {"type": "websocket", "scheme": "ws", "subprotocols": []}


async def talk_over_network(url: str, ask: Talk) -> list[Any]:
    """Return the same of a running service."""
    heard: list[Any] = ["accepted"]
    address = url.replace("http", "ws", 1) + ask.path
    try:
        async with websockets.connect(
            address, open_timeout=patience(5), additional_headers=ask.headers
        ) as socket:
            for text in ask.texts:
                await socket.send(text)
                heard.append(await socket.recv())
            await socket.wait_closed()
            return [*heard, socket.close_code]
    except websockets.InvalidStatus:
        return ["refused"]
