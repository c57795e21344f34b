"""Routes that are answered directly, and routes that are not."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    Path,
    Query,
    Response as FastAPIResponse,
)
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp

from servekit.routing.compiled import compile_router


class Item(BaseModel):
    number: int
    name: str = Field(default="none", alias="title")


class Greeter:
    """A dependency that is an object, as `cache_response` is."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def __call__(self, request: Request) -> str:
        return f"{self.word} {request.url.path}"


def direct_routes(calls: list[str]) -> APIRouter:  # noqa: C901 - one short route after the other
    router = APIRouter()

    async def counted(connection: HTTPConnection) -> int:
        calls.append("counted")
        return len(connection.headers.getlist("x-count"))

    async def doubled(
        count: Annotated[int, Depends(counted)], factor: Annotated[int, Query(gt=0)] = 2
    ) -> int:
        return count * factor

    async def refusing() -> None:
        raise HTTPException(401, "no", headers={"x-why": "refused"})

    async def positional(number: Annotated[int, Path(ge=1)]) -> int:
        return number

    @router.get("/plain")
    async def plain() -> Item:
        return Item(number=1, title="a")

    @router.get("/list", status_code=203)
    async def items() -> list[Item]:
        return [Item(number=number) for number in range(3)]

    @router.get("/union")
    async def union() -> Item | None:
        return None

    @router.get("/dict", response_model=Item)
    async def from_dict() -> dict[str, Any]:
        return {"number": "7", "title": "x", "secret": "not in the model"}

    @router.get("/response", response_model=Item)
    async def response() -> FastAPIResponse:
        return PlainTextResponse("as it is", 418, headers={"x-own": "1"})

    @router.get("/places/{number}/{title}")  # noqa: FAST003 - the model has both
    async def place(where: Annotated[Item, Path()]) -> Item:
        return where

    @router.get("/files/{size}/{path:path}")
    async def file(
        size: float, where: Annotated[str, Path(alias="path", max_length=9)]
    ) -> list[Any]:
        return [size, where]

    @router.get("/all/{number}")
    async def everything(  # noqa: PLR0913, PLR0917 - every kind of parameter
        number: Annotated[int, Path(ge=1)],
        request: Request,
        tags: Annotated[list[str], Query(max_length=2)],
        agent: Annotated[str, Header(alias="x-agent", min_length=2)],
        taste: Annotated[str, Cookie()] = "plain",
        wanted: Annotated[bool, Query()] = False,
    ) -> dict[str, Any]:
        return {
            "values": [number, tags, agent, taste, wanted],
            "path": request.url.path,
        }

    @router.get("/dependent", dependencies=[Depends(counted), Depends(Greeter("unused"))])
    async def dependent(
        count: Annotated[int, Depends(counted)],
        double: Annotated[int, Depends(doubled)],
        own: Annotated[int, Depends(counted, use_cache=False)],
        greeting: Annotated[str, Depends(Greeter("hello"))],
    ) -> list[Any]:
        return [count, double, own, greeting]

    @router.get("/wrong/{number}")
    async def wrong(
        number: Annotated[int, Path(ge=1)],
        inner: Annotated[int, Depends(positional)],
        factor: Annotated[int, Depends(doubled)],
        again: Annotated[int, Depends(doubled)],
    ) -> int:
        return number * inner * factor * again

    @router.get("/refused")
    async def refused(nothing: Annotated[None, Depends(refusing)]) -> Item:
        raise AssertionError("unreachable")

    @router.get("/missing")
    async def missing() -> Item:
        raise HTTPException(404, "none here")

    return router


def usual_routes() -> APIRouter:  # noqa: C901 - as above
    router = APIRouter()

    async def opened() -> AsyncIterator[str]:
        yield "open"

    @router.post("/body")
    async def body(item: Item) -> Item:
        return item

    @router.post("/value")
    async def value(number: Annotated[int, Body(embed=True)]) -> int:
        return number

    @router.get("/sync")
    def sync() -> Item:
        return Item(number=2)

    @router.get("/sync-dependency")
    async def sync_dependency(word: Annotated[str, Depends(lambda: "sync")]) -> str:
        return word

    @router.get("/generator")
    async def generator(state: Annotated[str, Depends(opened)]) -> str:
        return state

    @router.get("/headers")
    async def headers(response: FastAPIResponse) -> Item:
        response.headers["x-extra"] = "1"
        return Item(number=3)

    @router.get("/background")
    async def background(tasks: BackgroundTasks) -> Item:
        return Item(number=4)

    @router.get("/untyped")
    async def untyped():
        return {"number": 5}

    @router.get("/stream")
    async def stream() -> AsyncIterator[Item]:
        yield Item(number=8)

    @router.get("/text", response_class=PlainTextResponse)
    async def text() -> str:
        return "text"

    @router.get("/set-fields", response_model_exclude_unset=True)
    async def set_fields() -> Item:
        return Item(number=6)

    @router.get("/names", response_model_by_alias=False)
    async def names() -> Item:
        return Item(number=7)

    @router.delete("/nothing", status_code=204)
    async def nothing() -> None:
        return None

    @router.get("/limited", max_body_size=10)
    async def limited() -> Item:
        return Item(number=9)

    return router


def compiled(app: FastAPI) -> dict[str, ASGIApp]:
    """Compile an application and return what answers, by path."""
    router = compile_router(app.router)
    assert router is not None
    return {entry.path: entry.answer for entry in router.entries}


async def ask(app: FastAPI, method: str, path: str, headers: dict[str, str], content: str) -> Any:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, path, headers=headers, content=content)
        return answer.status_code, sorted(answer.headers.multi_items()), answer.content
