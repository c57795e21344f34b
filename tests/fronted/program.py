"""A service that streams and talks, for tests of what stands in front of it."""

# It runs where the service is installed, not here.
# mypy: ignore-errors

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from servekit import Service, Settings, main

PIECE = b"x" * 65_536

router = APIRouter()


@router.get("/seen")
async def seen(request: Request) -> dict[str, str]:
    return {
        "client": request.client.host,
        "url": str(request.url),
        "base": str(request.base_url),
    }


@router.post("/seen")
async def count(request: Request) -> int:
    return len(await request.body())


@router.post("/upload")
async def upload(request: Request) -> dict[str, int | float | str]:
    """Return size and digest, and the seconds between the first piece and the last."""
    digest, size, times = hashlib.blake2b(), 0, []
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
        if piece:
            times.append(time.monotonic())
    return {"size": size, "digest": digest.hexdigest(), "seconds": times[-1] - times[0]}


async def repeated(piece: bytes, count: int, seconds: float = 0) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece
        await asyncio.sleep(seconds)


@router.get("/download")
async def download(pieces: int) -> StreamingResponse:
    return StreamingResponse(repeated(PIECE, pieces), media_type="application/octet-stream")


@router.get("/events")
async def events(seconds: float, count: int) -> StreamingResponse:
    body = repeated(b"data: tick\n\n", count, seconds)
    return StreamingResponse(body, media_type="text/event-stream")


@router.get("/lines")
async def lines(seconds: float, count: int) -> StreamingResponse:
    return StreamingResponse(repeated(b"{}\n", count, seconds), media_type="application/x-ndjson")


@router.get("/secret")
async def secret(response: Response) -> list[str]:
    response.headers["vary"] = "Cookie"
    return ["csrf token"] * 1000


@router.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI()
    Service(settings).install(app)
    app.include_router(router)
    return app


if __name__ == "__main__":
    sys.exit(main("program:create_app", settings="servekit:Settings"))
