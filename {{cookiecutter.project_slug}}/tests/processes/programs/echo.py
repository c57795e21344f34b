"""Answers its pid, sleeps, blocks, streams, reads bodies: the behaviour that tests ask for."""

import asyncio
import os
import time
from pathlib import Path

from service.logs import configure_logs
from service.runtime.draining import Draining
from service.runtime.program import Program


def program() -> Program:
    configure_logs("info", "json")
    draining = Draining()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "websocket":
            await websocket(receive, send)
        else:
            await http(scope, receive, send)

    async def http(scope, receive, send):
        path = scope["path"]
        if path.startswith("/sleep/"):
            await asyncio.sleep(float(path.removeprefix("/sleep/")))
        elif path == "/block":
            time.sleep(30)  # noqa: ASYNC251 - the fault under test
        elif path == "/events":
            await events(receive, send)
            return
        elif path == "/large":
            await answer(send, b"x" * 50_000_000)
            return
        elif path == "/body":
            await answer(send, str(await body_size(receive)).encode())
            return
        await answer(send, str(os.getpid()).encode())

    async def answer(send, body):
        headers = [(b"content-length", str(len(body)).encode())]
        if draining.active:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def metrics(arguments):
        text = f'# HELP requests_total All.\n# TYPE requests_total counter\nrequests_total{{pid="{os.getpid()}"}} 1.0\n'
        return text.encode()

    return Program(
        asgi=app,
        draining=draining,
        commands={"metrics": metrics},
        error_headers=[(b"x-content-type-options", b"nosniff")],
    )


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if "SHUTDOWN_FILE" in os.environ:
        with Path(os.environ["SHUTDOWN_FILE"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def events(receive, send):
    gone = asyncio.create_task(disconnected(receive))
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.wait([gone], timeout=0.05)


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def body_size(receive):
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return size
        size += len(message["body"])
        more = message["more_body"]
    return size
