"""An upload that its client breaks off is 499, however the route reads it, and no error of ours."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI, File, Form, Request, UploadFile
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from servekit import Service
from servekit.testing.lifespan import Lifespan
from tests.asgi import http_scope

FORM = "multipart/form-data; boundary=b"
PIECE = b'--b\r\ncontent-disposition: form-data; name="name"\r\n\r\nab'
TYPES = {
    "/json": "application/json",
    "/form": FORM,
    "/file": FORM,
    "/stream": "text/plain",
    "/body": "text/plain",
    "/own": FORM,
    "/stubborn": "text/plain",
}


@pytest.fixture
def app(settings):
    app = FastAPI()
    Service(settings).install(app)

    @app.post("/json")
    async def as_json(body: Annotated[dict[str, Any], Body()]) -> int:
        return len(body)

    @app.post("/form")
    async def form(name: Annotated[str, Form()]) -> str:
        return name

    @app.post("/file")
    def file(name: Annotated[UploadFile, File()]) -> int:
        return name.size or 0

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.post("/own")
    async def own(request: Request) -> int:
        async with request.form() as form:
            return len(form)

    @app.post("/stubborn")
    async def stubborn(request: Request) -> str:
        try:
            await request.body()
        except ClientDisconnect:
            return "I answer all the same"
        return "whole"

    return app


@pytest.mark.parametrize("path", TYPES)
async def test_a_broken_upload_is_499_and_no_error(app, path):
    messages = [
        {"type": "http.request", "body": PIECE, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None: ...

    headers = [("host", "localhost"), ("content-type", TYPES[path]), ("content-length", "999")]
    async with Lifespan(app) as running:
        with capture_logs() as lines:
            await running(http_scope(path, "POST", headers=headers), receive, send)
            await asyncio.sleep(0)  # lines are written at the end of the loop's turn
    [line] = [line for line in lines if line["event"] == "http_request"]
    assert line["status"] == 499
    assert [line for line in lines if line["log_level"] in {"warning", "error"}] == []
