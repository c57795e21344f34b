"""One route for each kind of request that needs something else than the others."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Form, Request, UploadFile, WebSocket
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Column, Integer, MetaData, Table, select
from starlette.middleware.base import BaseHTTPMiddleware

from servekit import Service, Settings
from servekit.cache import cache_response, cached
from servekit.offload import ProcessesDep, ThreadsDep
from servekit.sessions import SessionDep
from servekit.sql import Database, DatabaseDep
from servekit.upstream import Upstream, upstream

metadata = MetaData()
table = Table("rows", metadata, Column("id", Integer, primary_key=True))


def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    service.add(Database("sqlite:///first.db", metadata))
    service.add_upstream("own", f"http://localhost:{settings.port}")
    app, inner = FastAPI(), FastAPI()
    service.install(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent))
    app.mount("/inner", inner)
    inner.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    add_answers(app)
    add_bodies(app)
    add_neighbours(app)

    @app.get("/modules")
    @inner.get("/plain")
    async def modules() -> list[str]:
        return sorted(sys.modules)

    return app


async def passing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def add_answers(app: FastAPI) -> None:
    @app.get("/plain")
    async def plain(background: BackgroundTasks, number: int = 0) -> int:
        background.add_task(str, 1)
        return number

    @app.get("/in-a-thread")
    def in_a_thread() -> str:
        return "x"

    @app.get("/large")
    async def large() -> str:
        return "x" * 100_000

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("broken")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/events", response_class=EventSourceResponse)
    def events() -> Iterator[int]:
        yield 1

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(__file__)


def add_bodies(app: FastAPI) -> None:
    @app.post("/json")
    async def json(numbers: list[int]) -> int:
        return len(numbers)

    @app.post("/form")
    async def form(name: Annotated[str, Form()]) -> str:
        return name

    @app.post("/upload")
    async def upload(file: UploadFile) -> int:
        return len(await file.read())

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()


def add_neighbours(app: FastAPI) -> None:
    @app.get("/cached", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def answer() -> str:
        return "x"

    @cached("number:{number}", ttl_seconds=60)
    async def load(number: int) -> int:
        return number

    @app.get("/cached-function")
    async def function() -> int:
        return await load(1)

    @app.post("/session")
    async def session(session: SessionDep) -> None:
        await session.login("ada")

    @app.get("/threads")
    async def threads(threads: ThreadsDep) -> str:
        return await threads.run(str, 1)

    @app.get("/processes")
    async def processes(processes: ProcessesDep) -> int:
        return await processes.run(abs, 1)

    @app.get("/database")
    async def rows(database: DatabaseDep) -> int:
        async with database.engine.connect() as connection:
            return len((await connection.execute(select(table))).all())

    @app.get("/upstream")
    async def other(own: Annotated[Upstream, Depends(upstream("own"))]) -> Any:
        return (await own.get("/plain")).json()
