"""Routes that fail, parse and tell who asks: in the service and in the plain one alike."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Form, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

FILE_BYTES = 1_000_000

router = APIRouter(prefix="/chaos", include_in_schema=False)


class Asker(BaseModel):
    """A request as the application sees it."""

    client: str
    scheme: str
    host: str
    path: str


class Parsed(BaseModel):
    """How much of a body was read."""

    size: int


@router.get("/asker")
async def asker(request: Request) -> Asker:
    """Tell whom the service takes the client for."""
    client = request.client.host if request.client else ""
    return Asker(
        client=client, scheme=request.url.scheme, host=request.url.netloc, path=request.url.path
    )


@router.post("/json")
async def parse_json(body: dict[str, Any] | list[Any]) -> Parsed:
    """Parse any JSON."""
    return Parsed(size=len(body))


@router.post("/form")
async def parse_form(a: Annotated[list[str], Form()]) -> Parsed:
    """Parse a form."""
    return Parsed(size=len(a))


@router.get("/file")
async def file() -> FileResponse:
    """Send a file, or the ranges of it that are asked for."""
    path = Path(tempfile.gettempdir()) / f"chaos-{FILE_BYTES}"
    if not path.exists():
        path.write_bytes(b"x" * FILE_BYTES)
    return FileResponse(path)


@router.get("/raise")
async def fail(text: str = "chaos") -> None:
    """Fail with an exception nobody handles."""
    raise RuntimeError(text)


@router.get("/raise-later")
async def fail_later(tasks: BackgroundTasks) -> None:
    """Answer, then fail."""
    tasks.add_task(fail)


@router.get("/raise-midway")
async def fail_midway() -> StreamingResponse:
    """Fail in the middle of the answer."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await fail()

    return StreamingResponse(pieces())


class FailingMiddleware:
    """Fails on one path, before any route is looked for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/chaos/raise-early/":
            await fail()
        await self.app(scope, receive, send)
