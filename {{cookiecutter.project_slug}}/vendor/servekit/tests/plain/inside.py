"""What routes give and where they stand: answers, mounts, streams, sockets."""

import warnings
from collections.abc import AsyncIterator
from typing import Any

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.routing import APIRoute
from pydantic import BaseModel

from .around import Marks, OwnError, demand_key


class Item(BaseModel):
    name: str
    secret: str = "hidden"


class Loud(APIRoute):
    def get_route_handler(self) -> Any:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response: Response = await inner(request)
            response.headers["x-loud"] = "yes"
            return response

        return handle


def answers() -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)
    loud = APIRouter(route_class=Loud, default_response_class=HTMLResponse)

    @app.get("/")
    async def index() -> str:
        return "plain"

    @loud.get("/loud")
    async def page() -> str:
        return "<p>"

    @app.post(
        "/items",
        status_code=201,
        response_model_exclude={"secret"},
        response_class=JSONResponse,
    )
    async def create(item: Item, response: Response) -> Item:
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return item

    @app.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/items")

    app.include_router(loud)
    return app


def rooted() -> FastAPI:
    with warnings.catch_warnings(action="ignore"):  # FastAPI advises against it
        app = FastAPI(root_path="/api")

    @app.get("/where")
    async def where(request: Request) -> list[str]:
        return [str(request.scope["root_path"]), str(request.url_for("where"))]

    @app.get("/folder/")
    async def folder() -> str:
        return "folder"

    return app


def mounted() -> FastAPI:
    app, inner = FastAPI(), FastAPI(dependencies=[Depends(demand_key)])
    inner.add_middleware(Marks, name="inner")

    @inner.exception_handler(OwnError)
    async def on_own(request: Request, error: OwnError) -> Response:
        return PlainTextResponse("own of inner", 409)

    @inner.get("/own")
    async def own() -> None:
        raise OwnError

    @inner.get("/where")
    async def where(request: Request) -> list[str]:
        return [str(request.scope["root_path"]), str(request.url.path)]

    @inner.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close(4001)

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"raw {scope['path']}")(scope, receive, send)

    app.mount("/inner", inner)
    app.mount("/raw", raw)
    return app


def flows() -> FastAPI:
    app = FastAPI()
    app.include_router(streams())
    app.include_router(sockets())
    app.state.noted = []

    @app.post("/note/{text}")
    async def note(text: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(app.state.noted.append, text)
        return "later"

    @app.get("/noted")
    async def noted() -> list[str]:
        return sorted(set(app.state.noted))

    return app


async def pieces() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d\n" % number


def streams() -> APIRouter:
    router = APIRouter()

    @router.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces(), media_type="text/plain")

    @router.get("/blocking-stream")
    def blocking_stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]), media_type="text/csv", status_code=202)

    return router


def sockets() -> APIRouter:
    router = APIRouter()

    @router.websocket("/echo/{name}")
    async def echo(socket: WebSocket, name: str) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(f"{name}: {text}")
            if text == "bye":
                break
        await socket.close(4002)

    @router.websocket("/refuse")
    async def refuse(socket: WebSocket) -> None:
        await socket.close(4000)

    return router
