"""Routes that write to a session at every place where a request may, and those places' names."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from servekit.sessions import Session, SessionDep
from tests.asgi import http_scope

HTTP_BEFORE = ["route", "def route", "dependency", "after a yield, before the answer", "handler"]


HTTP_AFTER = ["background task", "def background task", "task of a response", "streamed body"]
HTTP_AFTER += ["after a yield", "task that outlives the request"]


WEBSOCKET = ["before accept", "after accept", "refused handshake", "after the last message"]


class Writer:
    """Writes a session in one way, and notes the errors that this raises."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.errors: list[BaseException] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def write(self, session: Session) -> None:
        try:
            self.change(session)
            if self.way == "save":
                await session.save()
        except RuntimeError as error:
            self.errors.append(error)

    def write_in_thread(self, session: Session) -> None:
        try:
            self.change(session)
        except RuntimeError as error:
            self.errors.append(error)

    def change(self, session: Session) -> None:
        if self.way != "delete":
            session["new"] = 1
        elif "old" in session:
            del session["old"]


def add_routes_that_write_before(app: FastAPI, writer: Writer) -> None:
    @app.get("/route")
    async def route(session: SessionDep) -> None:
        await writer.write(session)

    @app.get("/def route")
    def def_route(session: SessionDep) -> None:
        writer.write_in_thread(session)

    @app.get("/dependency", dependencies=[Depends(route)])
    async def dependency() -> None: ...

    async def give(session: SessionDep) -> AsyncIterator[None]:
        yield
        await writer.write(session)

    @app.get("/after a yield, before the answer", dependencies=[Depends(give, scope="function")])
    async def after_an_early_yield() -> None: ...

    @app.get("/handler")
    async def handler(session: SessionDep) -> None:
        raise KeyError

    @app.exception_handler(KeyError)
    async def handle(request: Any, error: Exception) -> JSONResponse:
        await writer.write(request.scope["servekit.session"])
        return JSONResponse("handled")

    @app.get("/after a yield", dependencies=[Depends(give)])
    async def after_a_yield() -> None: ...


def add_routes_that_write_after(app: FastAPI, writer: Writer) -> None:
    @app.get("/background task")
    async def background(session: SessionDep, tasks: BackgroundTasks) -> None:
        tasks.add_task(writer.write, session)

    @app.get("/def background task")
    async def def_background(session: SessionDep, tasks: BackgroundTasks) -> None:
        tasks.add_task(writer.write_in_thread, session)

    @app.get("/task of a response")
    async def response_task(session: SessionDep) -> JSONResponse:
        return JSONResponse("", background=BackgroundTask(writer.write, session))

    @app.get("/streamed body")
    async def streamed(session: SessionDep) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "a"
            await writer.write(session)
            yield "b"

        return StreamingResponse(body())

    @app.get("/task that outlives the request")
    async def outliving(session: SessionDep) -> None:
        async def later() -> None:
            while not session.over:  # noqa: ASYNC110 - the request's end has no event
                await asyncio.sleep(0)
            await writer.write(session)

        writer.tasks.append(asyncio.create_task(later()))


def add_websockets_that_write(app: FastAPI, writer: Writer) -> None:
    @app.websocket("/before accept")
    async def before(websocket: WebSocket, session: SessionDep) -> None:
        await writer.write(session)
        await websocket.accept()

    @app.websocket("/after accept")
    async def after(websocket: WebSocket, session: SessionDep) -> None:
        await websocket.accept()
        await writer.write(session)
        await websocket.send_text("written")

    @app.websocket("/refused handshake")
    async def refused(websocket: WebSocket, session: SessionDep) -> None:
        await writer.write(session)
        await websocket.close()

    @app.websocket("/after the last message")
    async def at_the_end(websocket: WebSocket, session: SessionDep) -> None:
        await websocket.accept()
        await websocket.close()
        await writer.write(session)


async def handshake(asgi: Any, path: str, cookie: str) -> tuple[list[Any], str]:
    """Open a WebSocket and let the application talk; return its messages, and the new cookie."""
    sent: list[Any] = []
    scope = http_scope(path, headers=[("cookie", cookie)] if cookie else [])
    scope = {**scope, "type": "websocket", "scheme": "wss", "subprotocols": []}

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi(scope, receive, send)
    given = [value for name, value in sent[0].get("headers", ()) if name == b"set-cookie"]
    return sent, given[0].decode().partition(";")[0] if given else cookie
