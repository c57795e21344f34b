"""Every request is answered as FastAPI's own route answers it; what is direct is also asserted."""

import gc
import re
import weakref
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
import pytest
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
    routing,
)
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.routing import Match
from starlette.types import ASGIApp

from servekit.routing.compiled import compile_router
from servekit.routing.direct import Direct
from tests.asgi import call


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


class Application:
    """Both kinds of routes in one application, and the calls that its handlers tell of."""

    def __init__(self, *, ours: bool) -> None:
        self.calls: list[str] = []
        self.app = FastAPI()
        self.app.include_router(direct_routes(self.calls))
        self.app.include_router(usual_routes())
        if ours:
            compile_router(self.app.router)


@pytest.fixture(scope="module")
def applications() -> tuple[Application, Application]:
    """FastAPI's way and ours: made once, as they take longer than a request."""
    return Application(ours=False), Application(ours=True)


REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/plain", {}, ""),
    ("HEAD", "/plain", {}, ""),
    ("GET", "/list", {}, ""),
    ("GET", "/union", {}, ""),
    ("GET", "/dict", {}, ""),
    ("GET", "/response", {}, ""),
    ("GET", "/all/3?tags=a&tags=b&wanted=yes", {"x-agent": "me", "cookie": "taste=salt"}, ""),
    ("GET", "/places/3/here", {}, ""),
    ("GET", "/places/x/here", {}, ""),
    ("GET", "/files/1.5/a/b%20c", {}, ""),
    ("GET", "/files/large/a/b/c/d/e/f", {}, ""),
    ("GET", "/all/x?tags=a&tags=b&tags=c&wanted=perhaps", {"x-agent": "m"}, ""),
    ("GET", "/all/0", {}, ""),
    ("GET", "/dependent?factor=3", {"x-count": "1"}, ""),
    ("GET", "/dependent?factor=0", {}, ""),
    ("GET", "/wrong/2?factor=5", {"x-count": "1"}, ""),
    ("GET", "/wrong/0?factor=none", {}, ""),
    ("GET", "/refused", {}, ""),
    ("GET", "/missing", {}, ""),
    ("POST", "/plain", {}, ""),
    ("GET", "/nowhere", {}, ""),
    ("POST", "/body", {"content-type": "application/json"}, '{"number": 1}'),
    ("POST", "/value", {"content-type": "application/json"}, '{"number": "x"}'),
    ("GET", "/sync", {}, ""),
    ("GET", "/sync-dependency", {}, ""),
    ("GET", "/generator", {}, ""),
    ("GET", "/headers", {}, ""),
    ("GET", "/background", {}, ""),
    ("GET", "/untyped", {}, ""),
    ("GET", "/stream", {}, ""),
    ("GET", "/text", {}, ""),
    ("GET", "/set-fields", {}, ""),
    ("GET", "/names", {}, ""),
    ("DELETE", "/nothing", {}, ""),
    ("GET", "/limited", {}, ""),
]


async def ask(app: FastAPI, method: str, path: str, headers: dict[str, str], content: str) -> Any:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, path, headers=headers, content=content)
        return answer.status_code, sorted(answer.headers.multi_items()), answer.content


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request[0]} {request[1]}")
async def test_a_request_is_answered_as_by_fastapi(request_, applications):
    usual, ours = applications
    usual.calls.clear()
    ours.calls.clear()

    assert await ask(ours.app, *request_) == await ask(usual.app, *request_)
    assert ours.calls == usual.calls


def test_what_needs_more_than_parameters_and_the_request_goes_the_usual_way():
    direct, usual = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    direct.include_router(direct_routes([]))
    usual.include_router(usual_routes())

    assert [
        path for path, answer in compiled(direct).items() if not isinstance(answer, Direct)
    ] == []
    assert [path for path, answer in compiled(usual).items() if isinstance(answer, Direct)] == []


async def test_an_answer_that_breaks_its_own_model_is_an_error_of_the_server():
    router, app = APIRouter(), FastAPI()

    @router.get("/", response_model=Item)
    async def broken() -> dict[str, str]:
        return {"number": "none"}

    app.include_router(router)
    compile_router(app.router)
    with pytest.raises(ResponseValidationError):
        await call(app)


async def test_dependencies_can_be_overridden_in_tests():
    router, app = APIRouter(), FastAPI()

    async def word() -> str:
        return "given"

    @router.get("/")
    async def answer(word: Annotated[str, Depends(word)]) -> str:
        return word

    app.include_router(router)
    compile_router(app.router)
    before = await call(app)
    app.dependency_overrides[word] = lambda: "replaced"
    after = await call(app)

    assert (before.body, after.body) == (b'"given"', b'"replaced"')


async def test_a_traced_request_goes_the_usual_way_that_opens_its_spans():
    app = FastAPI()
    app.include_router(direct_routes([]))
    answer = compiled(app)["/plain"]
    usual: list[str] = []

    async def note(scope, receive, send):
        usual.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert isinstance(answer, Direct)
    answer._usual = note
    traced: dict[str, Any] = {"fastapi.telemetry": object()}
    await call(app, "/plain", **traced)
    assert usual == ["/plain"]


async def test_a_router_with_a_prefix_answers_directly_too():
    app = FastAPI()
    app.include_router(direct_routes([]), prefix="/v1")

    assert isinstance(compiled(app)["/v1/plain"], Direct)
    assert (await call(app, "/v1/plain")).body == b'{"number":1,"title":"a"}'


# What others put around a route, or change of it, is honoured.


async def both(build) -> list[tuple[int, bytes]]:
    """Return what FastAPI answers and what we answer for `/`, of an application built twice."""
    answers = []
    for ours in (False, True):
        app = build()
        if ours:
            compile_router(app.router)
        answer = await ask(app, "GET", "/", {}, "")
        answers.append((answer[0], answer[2]))
    return answers


async def refuse(scope, receive, send):
    await PlainTextResponse("no", 401)(scope, receive, send)


def with_app_of_its_own() -> FastAPI:
    class Guarded(APIRoute):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.app = refuse

    app = FastAPI()
    app.router.route_class = Guarded

    @app.get("/")
    async def secret() -> str:
        return "secret"

    return app


def with_handle_of_its_own() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def secret() -> str:
        return "secret"

    app.routes[-1].handle = refuse  # type: ignore[method-assign]
    return app


def with_matches_of_its_own() -> FastAPI:
    app, inner = FastAPI(), APIRouter()

    async def secret() -> str:
        return "secret"

    for router in (app.router, inner):
        router.add_api_route("/", secret)
        router.routes[-1].matches = lambda _: (Match.NONE, {})  # type: ignore[assignment,method-assign]
    app.include_router(inner, prefix="/inner")
    return app


def with_a_handler_of_its_own() -> FastAPI:
    class Shouting(APIRoute):
        def get_route_handler(self):
            usual = super().get_route_handler()

            async def handle(request: Request) -> FastAPIResponse:
                answer = await usual(request)
                return PlainTextResponse(bytes(answer.body).decode().upper())

            return handle

    app = FastAPI()
    app.router.route_class = Shouting

    @app.get("/")
    async def word() -> str:
        return "word"

    return app


def with_counted_dependencies() -> FastAPI:
    app, calls = FastAPI(), iter(range(100))

    async def count() -> int:
        return next(calls)

    async def outer(own: Annotated[int, Depends(count, use_cache=False)]) -> int:
        return own

    async def other(inner: Annotated[int, Depends(outer)]) -> int:
        return inner

    @app.get("/")
    async def counts(  # noqa: PLR0913, PLR0917 - each asks in another way
        first: Annotated[int, Depends(count)],
        own: Annotated[int, Depends(count, use_cache=False)],
        again: Annotated[int, Depends(count)],
        scoped: Annotated[int, Depends(count, scope="function")],
        one: Annotated[int, Depends(outer)],
        two: Annotated[int, Depends(other)],
    ) -> list[int]:
        return [first, own, again, scoped, one, two]

    return app


def with_what_is_closed_by_fastapis_stacks() -> FastAPI:
    app, said = FastAPI(), list[str]()

    async def opened(request: Request) -> None:
        for name in ("inner", "function"):
            stack = request.scope[f"fastapi_{name}_astack"]
            stack.callback(said.append, f"{name} closed")

    @app.middleware("http")
    async def tell(request: Request, call_next):
        answer = await call_next(request)
        body = b"".join([piece async for piece in answer.body_iterator])
        return PlainTextResponse(body.decode() + " ".join(said))

    @app.get("/")
    async def word(nothing: Annotated[None, Depends(opened)]) -> list[str]:
        said.append("called")
        return list(said)

    return app


def with_a_handler_that_reads_the_body() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def failing(request: Request) -> str:
        await request.body()
        raise ValueError

    @app.exception_handler(ValueError)
    async def handle(request: Request, _: ValueError) -> PlainTextResponse:
        return PlainTextResponse(await request.body() + b"!", 400)

    return app


def with_something_around_its_router() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def teapot() -> str:
        raise HTTPException(418, "short")

    inner = app.router.middleware_stack

    async def outer(scope, receive, send):
        async def marked(message):
            if message["type"] == "http.response.start":
                message["status"] += 1
            await send(message)

        await inner(scope, receive, marked)

    app.router.middleware_stack = outer
    return app


def with_patterns_of_its_own() -> FastAPI:
    app = FastAPI()

    @app.get("/A")
    async def letter() -> str:
        return "a"

    route = app.routes[-1]
    assert isinstance(route, APIRoute)
    route.path_regex = re.compile("^/$|" + route.path_regex.pattern, re.IGNORECASE)
    return app


@pytest.mark.parametrize(
    "build",
    [
        with_app_of_its_own,
        with_handle_of_its_own,
        with_matches_of_its_own,
        with_a_handler_of_its_own,
        with_counted_dependencies,
        with_what_is_closed_by_fastapis_stacks,
        with_a_handler_that_reads_the_body,
        with_something_around_its_router,
        with_patterns_of_its_own,
    ],
)
async def test_what_was_put_around_a_route_or_changed_of_it_is_honoured(build):
    usual, ours = await both(build)

    assert ours == usual


@pytest.mark.parametrize("name", ["get_request_handler", "run_endpoint_function"])
def test_where_a_tool_replaced_how_fastapi_answers_nothing_is_answered_directly(monkeypatch, name):
    original = getattr(routing, name)

    def traced(*args: Any, **options: Any) -> Any:
        return original(*args, **options)

    monkeypatch.setattr(routing, name, traced)
    app = FastAPI(openapi_url=None)
    app.include_router(direct_routes([]))

    assert Direct not in {type(answer) for answer in compiled(app).values()}


async def test_a_route_that_is_wrapped_while_it_runs_goes_the_usual_way():
    app = FastAPI()

    @app.get("/")
    async def secret() -> str:
        return "secret"

    compile_router(app.router)
    before = await ask(app, "GET", "/", {}, "")
    app.routes[-1].app = refuse  # type: ignore[attr-defined]
    after = await ask(app, "GET", "/", {}, "")

    assert (before[0], after[0]) == (200, 401)


def test_a_router_of_a_module_keeps_no_application_alive():
    router = direct_routes([])
    alive = []
    for _ in range(3):
        app = FastAPI()
        app.include_router(router)
        compiled(app)
        alive.append(weakref.ref(app))
    del app
    gc.collect()

    assert [one() for one in alive] == [None, None, None]
    router.add_api_route("/late", lambda: None)
