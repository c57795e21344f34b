"""Errors and exits on the way out of a route come to the same as with FastAPI's own layers."""

import asyncio
import itertools
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from servekit.install import without_idle_layers
from servekit.routing.compiled import compile_router
from servekit.routing.innermost import Innermost
from servekit.service import TELEMETRY_OFF
from tests.asgi import http_scope

STACKS = ("fastapi_middleware_astack", "fastapi_inner_astack", "fastapi_function_astack")
EXITS = ("nothing", "a callback", "a callback that fails", "an exit that swallows")


class Cut(Exception):  # noqa: N818 - what happened
    """Handled by the application."""


async def pieces():
    yield "a"
    raise Cut


OUTCOMES: dict[str, Any] = {
    "a value": lambda: ["value"],
    "a response": lambda: PlainTextResponse("text"),
    "a stream that fails": lambda: StreamingResponse(pieces()),
    "an HTTPException": HTTPException(418, "short"),
    "a handled error": Cut(),
    "an unhandled error": KeyError("key"),
    "a cancellation": asyncio.CancelledError(),
}


def application(stack: str, exit_kind: str, outcome: str, said: list[str]) -> FastAPI:
    app = FastAPI(telemetry=TELEMETRY_OFF)

    @app.exception_handler(Cut)
    async def handle(_request: Request, _error: Cut) -> PlainTextResponse:
        said.append("handled")
        return PlainTextResponse("cut", 400)

    def leave(kind: Any, *_: object) -> bool:
        said.append(f"left with {kind and kind.__name__}")
        return exit_kind == "an exit that swallows"

    def fail() -> None:
        said.append("fails")
        raise Cut

    @app.get("/")
    async def route(request: Request) -> list[str]:
        exits = request.scope[stack]
        if exit_kind == "a callback that fails":
            exits.callback(fail)
        elif exit_kind != "nothing":
            exits.push(leave)
        what = OUTCOMES[outcome]
        if isinstance(what, BaseException):
            raise what
        answer: list[str] = what()
        return answer

    return app


async def told(app: Any, said: list[str], path: str) -> list[Any]:
    """Return all that could be noticed of a request: what was sent, said and raised."""
    messages: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(dict(message))

    try:
        await app(http_scope(path), receive, send)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is compared
        messages.append((type(error), str(error), type(error.__cause__)))
    return [*messages, *said]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize(("stack", "exit_kind"), list(itertools.product(STACKS, EXITS)))
async def test_what_a_request_leaves_in_the_stacks_ends_as_with_fastapi(stack, exit_kind, outcome):
    found = []
    for ours in (False, True):
        said: list[str] = []
        app = application(stack, exit_kind, outcome, said)
        if ours:
            assert compile_router(app.router) is not None
        whole = app.build_middleware_stack()
        inner = without_idle_layers(whole, app, fast=ours)
        assert isinstance(inner, Innermost) is ours
        found.append([await told(inner, said, path) for path in ("/", "/nowhere")])
    if exit_kind == "an exit that swallows" and stack != STACKS[0]:
        # FastAPI then raises an error of its own about it: nobody is answered, here neither.
        found = [[[one for one in here if type(one) is not tuple]] for [here, _] in found]
    assert found[0] == found[1]
