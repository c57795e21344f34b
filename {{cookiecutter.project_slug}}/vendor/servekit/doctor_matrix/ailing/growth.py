"""What grows on, and what grows with the traffic or until it is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse

from doctor_matrix.ailing.loop import answer_well
from doctor_matrix.cases import fault, twin
from doctor_matrix.surroundings import redis
from servekit.cache import cached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI

    from doctor_matrix.service import Running
    from servekit import Service

CONNECT_SECONDS = 0.1
ENTRIES = 2000


async def forget() -> None:
    await asyncio.sleep(3600)


@fault("task_leak", guilty=forget, rate=20)
def task_leak(app: FastAPI, _service: Service) -> None:
    kept = set()

    @app.get("/")
    async def index() -> None:
        kept.add(asyncio.create_task(forget()))


@contextlib.contextmanager
def streams(running: Running) -> Iterator[None]:
    """Open ever more connections that stay open."""
    end = threading.Event()
    opened: list[socket.socket] = []

    def open_on() -> None:
        while not end.wait(CONNECT_SECONDS):
            opened.append(socket.create_connection(("127.0.0.1", running.port)))
            opened[-1].sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")

    thread = threading.Thread(target=open_on)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        for each in opened:
            each.close()


@twin("task_leak", rate=10, during=streams)
def tasks_of_streams(app: FastAPI, _service: Service) -> None:
    answer_well(app)

    async def events() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(1)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")


@fault("file_leak", rate=20)
def file_leak(app: FastAPI, _service: Service) -> None:
    kept: list[int] = []

    @app.get("/")
    async def index() -> None:
        kept.append(os.open(os.devnull, os.O_RDONLY))


@twin("file_leak", rate=20)
def pool_that_fills(app: FastAPI, _service: Service) -> None:
    kept: list[int] = []

    @app.get("/")
    async def index() -> None:
        if len(kept) < 15:  # noqa: PLR2004 - the pool's size
            kept.append(os.open(os.devnull, os.O_RDONLY))


@fault("memory_growth", rate=20)
def memory_growth(app: FastAPI, _service: Service) -> None:
    kept: list[dict[str, Any]] = []

    @app.get("/")
    async def index() -> None:
        kept.append({f"{len(kept)} {number}": [number] for number in range(ENTRIES)})


@cached("large:{number}", ttl_seconds=600)
async def large(number: int) -> str:
    return f"{number:09}" * 20_000


@twin("memory_growth", rate=10, before=redis)
def cache_that_fills(app: FastAPI, _service: Service) -> None:
    asked = 0

    @app.get("/")
    async def index() -> int:
        nonlocal asked
        asked += 1
        return len(await large(os.getpid() * 100_000 + asked))
