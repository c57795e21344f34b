"""What others put around a route, or change of it, is honoured."""

import re
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    Response as FastAPIResponse,
    routing,
)
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from servekit.routing.compiled import compile_router
from servekit.routing.direct import Direct
from tests.routing.direct_routes import ask, compiled, direct_routes


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
