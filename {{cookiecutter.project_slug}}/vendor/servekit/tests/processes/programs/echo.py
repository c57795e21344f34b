"""Answers its pid, sleeps, blocks, streams, reads bodies: the behaviour that tests ask for."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from servekit.draining import Draining
from servekit.logs import configure_logs
from servekit.supervisor.program import Program


def program() -> Program:
    configure_logs("info", "json")
    echo = Echo()
    return Program(
        asgi=echo,
        draining=echo.draining,
        commands={"metrics": metrics},
        error_headers=[(b"x-content-type-options", b"nosniff")],
    )


class Echo:
    def __init__(self):
        self.draining = Draining()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "websocket":
            await websocket(receive, send)
        else:
            await self.http(scope, receive, send)

    async def http(self, scope, receive, send):
        action, _, argument = scope["path"].removeprefix("/").partition("/")
        if action == "events":
            return await events(receive, send, float(argument or "inf"))
        if action == "pieces":
            return await pieces(send, int(argument))
        if action == "note":
            await note(scope["method"], Path(os.environ["ENDS_FILE"]), float(argument))
        if action == "sleep":
            await asyncio.sleep(float(argument))
        elif action == "block":
            time.sleep(30)  # noqa: ASYNC251 - the fault under test
        await self.answer(send, await content(action, receive))
        if action == "after":
            await note(scope["method"], Path(os.environ["ENDS_FILE"]), float(argument))
        return None

    async def answer(self, send, body):
        headers = [(b"content-length", str(len(body)).encode())]
        if self.draining.active:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def note(method, file, seconds):
    """Sleep, and write what came of it."""
    end = "cancelled"
    try:
        await asyncio.sleep(seconds)
        end = "finished"
    finally:
        with file.open("a") as lines:
            lines.write(f"{method} {end}\n")


async def metrics(arguments):
    comments = "# HELP requests_total All.\n# TYPE requests_total counter\n"
    return f'{comments}requests_total{{pid="{os.getpid()}"}} 1.0\n'.encode()


async def lifespan(receive, send):
    await receive()
    fail_while_broken()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(float(os.environ.get("SHUTDOWN_SECONDS", "0")))
    if "SHUTDOWN_FILE" in os.environ:
        note_end(Path(os.environ["SHUTDOWN_FILE"]))
    await send({"type": "lifespan.shutdown.complete"})


def note_end(file: Path) -> None:
    with file.open("a") as ends:
        ends.write(f"{os.getpid()}\n")


def fail_while_broken() -> None:
    if "BROKEN_FILE" in os.environ and Path(os.environ["BROKEN_FILE"]).exists():
        raise RuntimeError("broken for now")


def start_orphan() -> bytes:
    return subprocess.check_output(["sh", "-c", "sleep 0.3 >/dev/null & echo $!"])


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def content(action, receive):
    if action == "orphan":
        return start_orphan()
    if action == "large":
        return b"x" * 50_000_000
    if action == "flags":
        return (
            f"{sys.flags.optimize} {sys._xoptions.get('faulthandler')} {sys.warnoptions}".encode()
        )
    return str(await body_size(receive) if action == "body" else os.getpid()).encode()


async def events(receive, send, count):
    gone = asyncio.create_task(disconnected(receive))
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while not gone.done() and (count := count - 1) >= 0:
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.wait([gone], timeout=0.05)
    gone.cancel()
    await send({"type": "http.response.body", "body": b"data: end\n\n"})


async def pieces(send, count):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for left in reversed(range(count)):
        piece = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": left > 0}
        await send(piece)


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
