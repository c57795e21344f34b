"""Notes what becomes of requests whose client leaves: streams, polls, writes."""

import asyncio
import os
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from servekit.draining import Draining
from servekit.logs import configure_logs
from servekit.supervisor.program import Program

EXIT_TOLD = asyncio.Event()
ORIGINAL = uvicorn.Server.handle_exit


def handle_exit(*arguments):
    EXIT_TOLD.set()
    ORIGINAL(*arguments)


uvicorn.Server.handle_exit = handle_exit  # type: ignore[method-assign] # as libraries do


def program() -> Program:
    configure_logs("info", "json")
    return Program(asgi=app, draining=Draining())


def note(request, end):
    with Path(os.environ["ENDS_FILE"]).open("a") as lines:
        lines.write(f"{request.method} {request.url.path} {end}\n")


def stream(request):
    """Send a piece, and others each 0.4 s for so many; 0 for none."""

    async def pieces():
        end = "cancelled"
        try:
            yield "first\n"
            count = request.path_params["count"]
            for _ in range(count):
                await asyncio.sleep(0.4)
                yield "next\n"
            if not count:
                await asyncio.Event().wait()
            end = "finished"
        finally:
            note(request, end)

    return StreamingResponse(pieces(), media_type="text/event-stream")


def empty(request):
    """Send a piece, and then pieces of which nothing is written."""

    async def pieces():
        end = "cancelled"
        try:
            yield "first\n"
            for _ in range(80):
                await asyncio.sleep(0.1)
                yield ""
            end = "finished"
        finally:
            note(request, end)

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def then(request):
    """Stream for ever, and note something after it, as Starlette does whoever has left."""

    async def pieces():
        while True:
            yield "first\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(pieces(), background=BackgroundTask(note, request, "then"))


async def endless(request):
    """Answer for ever, and hear nothing."""

    async def app(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
                await asyncio.sleep(0.05)
        finally:
            note(request, "ended")

    return app


async def until_exit(request):
    """Stream until uvicorn's server is told to end, as sse-starlette hears of it."""

    async def pieces():
        while not EXIT_TOLD.is_set():
            yield "first\n"
            await asyncio.sleep(0.05)
        yield "last\n"

    return StreamingResponse(pieces())


async def poll(request):
    for _ in range(80):
        if await request.is_disconnected() and await request.is_disconnected():
            note(request, "told")
            return PlainTextResponse("told")
        await asyncio.sleep(0.1)
    note(request, "not told")
    return PlainTextResponse("not told")


async def receive(request):
    await request.body()
    note(request, (await request.receive())["type"])
    return PlainTextResponse("received")


async def slow(request):
    await asyncio.sleep(2.5)
    note(request, "finished")
    return PlainTextResponse("slow")


BOTH = ["GET", "POST"]
app = Starlette(
    routes=[
        Route("/stream/{count:int}", stream, methods=BOTH),
        Route("/empty-stream", empty, methods=BOTH),
        Route("/stream-then", then, methods=BOTH),
        Route("/endless-stream", endless),
        Route("/stream-until-exit", until_exit),
        Route("/poll", poll, methods=["POST"]),
        Route("/receive", receive, methods=["POST"]),
        Route("/slow", slow, methods=["POST"]),
    ]
)
