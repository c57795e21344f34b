"""A client that leaves while an answer streams: what made it gives back what it took, at once.

But for a plain generator, which runs in threads: Starlette leaves that to a collection.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from servekit import Service, Settings
from servekit.edge import unread
from servekit.install import entrance
from servekit.testing.lifespan import Lifespan
from tests.edge import wire
from tests.edge.wire import Client, Wire

PIECES = 5000
FULL = 20
"""So many writes fill what is between."""
TOOK: dict[str, int] = {}
app = FastAPI()


class Taken:
    """Counts what is out, and how far who took it came."""

    def __enter__(self) -> None:
        TOOK.update(out=1, made=0)

    def __exit__(self, *_: object) -> None:
        TOOK["out"] = 0


async def rows(seconds: float | None) -> AsyncIterator[str]:
    with Taken():
        for number in range(PIECES):
            TOOK["made"] = number
            if seconds is not None:
                await asyncio.sleep(seconds)
            yield f"{number},row\n"


@app.get("/busy")
async def busy() -> StreamingResponse:
    return StreamingResponse(rows(None))


@app.get("/file")
async def file(path: str) -> FileResponse:
    return FileResponse(path)


@app.get("/waits")
async def waits() -> StreamingResponse:
    return StreamingResponse(rows(0.001))


@app.get("/with-a-task")
async def with_a_task(tasks: BackgroundTasks) -> StreamingResponse:
    async def note() -> None:
        await asyncio.sleep(0.05)
        TOOK["noted"] = 1

    tasks.add_task(note)
    return StreamingResponse(rows(None), background=tasks)


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Send without an end, and never look whether anybody listens."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with Taken():
        while True:
            TOOK["made"] += 1
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def busy_for_good(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with Taken():
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def then_goes_on(scope: Scope, receive: Receive, send: Send) -> None:
    """Do something after the answer, in its task."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(PIECES):
        more = number < PIECES - 1
        await send({"type": "http.response.body", "body": b"x", "more_body": more})
    await asyncio.sleep(0.05)
    TOOK["noted"] = 1


app.mount("/then-goes-on", then_goes_on)
app.mount("/raw", raw)
app.mount("/busy-for-good", busy_for_good)


class FullWire(Wire):
    """A transport whose client reads nothing."""

    protocol: Any = None

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.writes == FULL:
            self.protocol.pause_writing()


@pytest.fixture
async def serve(make_settings, monkeypatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(wire, "Wire", FullWire)
    service = Service(make_settings(Settings))
    own = FastAPI(telemetry=service.telemetry)
    service.install(own)
    own.router.routes.extend(app.router.routes)
    TOOK.clear()
    async with Lifespan(entrance(own)) as serve:
        gc.collect()
        gc.disable()
        try:
            yield serve
        finally:
            gc.enable()


async def leave(serve: Any, path: str) -> Client:
    """Ask, leave while the answer waits for a reader, and return when its task is over."""
    client = Client(serve)
    cast("FullWire", client.wire).protocol = client.protocol
    client.protocol.data_received(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    await asyncio.sleep(0.05)
    client.protocol.connection_lost(None)
    await client.all_over()
    await asyncio.sleep(0)
    return client


def open_files() -> set[str]:
    files = Path("/proc/self/fd").iterdir()
    return {str(file.readlink()) for file in files if file.exists()}


STREAMS = ["/busy", "/waits", "/raw/", "/busy-for-good/", "/with-a-task"]


@pytest.mark.parametrize("path", ["/busy", "/waits", "/raw/", "/busy-for-good/", "/with-a-task"])
async def test_what_a_stream_took_is_given_back_without_the_collector(serve, path, monkeypatch):
    monkeypatch.setattr(unread, "PIECES_END", 2 * PIECES)
    await leave(serve, path)
    assert TOOK["out"] == 0


@pytest.mark.parametrize("path", ["/waits", "/raw/"])
async def test_what_waits_ends_soon(serve, path):
    await leave(serve, path)
    assert TOOK["made"] < PIECES / 2


async def test_a_large_file_is_closed(serve, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**32)
    await leave(serve, f"/file?path={large}")
    assert str(large) not in open_files()


@pytest.mark.parametrize("path", ["/with-a-task", "/then-goes-on/"])
async def test_what_comes_after_an_answer_runs_to_its_end(serve, path):
    await leave(serve, path)
    assert TOOK["noted"] == 1
