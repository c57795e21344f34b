"""Routes that work, wait and block on request: in the service and in the plain one alike."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

router = APIRouter(prefix="/chaos", include_in_schema=False)


class Done(BaseModel):
    """What every route answers: the process that did the work."""

    pid: int


@router.get("/ping")
async def ping() -> Done:
    """Answer at once."""
    return Done(pid=os.getpid())


@router.get("/critical")
@router.get("/cpu")
async def cpu(ms: float = 5) -> Done:
    """Hold the loop with computation for `ms` of this thread's CPU time."""
    until = time.thread_time() + ms / 1e3
    while time.thread_time() < until:
        pass
    return Done(pid=os.getpid())


@router.get("/wait")
async def wait(seconds: float = 1) -> Done:
    """Wait as for a database."""
    await asyncio.sleep(seconds)
    return Done(pid=os.getpid())


@router.get("/block")
async def block(seconds: float = 30) -> Done:
    """Block the loop, as a forgotten synchronous call does."""
    time.sleep(seconds)  # noqa: ASYNC251 - the fault under test
    return Done(pid=os.getpid())


@router.get("/thread")
def thread(seconds: float = 3) -> Done:
    """Block a thread of FastAPI's pool."""
    time.sleep(seconds)
    return Done(pid=os.getpid())


@router.post("/body")
async def body(request: Request) -> Done:
    """Read the whole body."""
    await request.body()
    return Done(pid=os.getpid())


@router.get("/big")
async def big(mib: int = 8) -> StreamingResponse:
    """Send `mib` MiB, as fast as the client reads."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(mib * 16):
            yield b"x" * 65_536

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@router.get("/events")
async def events() -> StreamingResponse:
    """Send an event each second, for ever."""

    async def lines() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(1)

    return StreamingResponse(lines(), media_type="text/event-stream")


@router.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    """Echo, for ever."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@router.get("/refuse")
async def refuse() -> Done:
    """Refuse as a route does it."""
    raise HTTPException(503, headers={"Retry-After": "1"})


@router.api_route("/slow", methods=["GET", "POST"])
async def slow(request: Request, seconds: float = 5) -> Done:
    """Wait as for a database, and note what became of it in `ends`, a file of the run."""
    end = "cancelled"
    try:
        await asyncio.sleep(seconds)
        end = "finished"
    finally:
        ends = Path(os.environ["CHAOS_FOLDER"]) / "ends"
        with ends.open("a") as file:
            file.write(f"{request.method} {end} {time.monotonic()}\n")
    return Done(pid=os.getpid())
