"""Who answers for an exception: the application's own handlers, its parts, then problems."""

import contextlib
import dataclasses

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from servekit.install import entrance
from tests.install.broken import broken_application, client


async def test_what_nobody_handles_is_answered_as_a_problem_without_its_text(service):
    app = broken_application()
    service.install(app)

    async with client(app) as ask:
        for path, status in (("/broken", 500), ("/refused", 403), ("/nowhere", 404)):
            answer = await ask.get(path)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert "hunter2" not in answer.text


async def test_own_handlers_go_before_the_services_also_when_they_come_after_it(service):
    app = broken_application()
    service.install(app)

    @app.exception_handler(Exception)
    async def on_any(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"own {error}", 500)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse("own", error.status_code)

    async with client(app) as ask:
        assert (await ask.get("/broken")).text == "own hunter2"
        assert (await ask.get("/refused")).text == "own"


async def test_fastapis_own_handlers_that_are_registered_on_purpose_are_kept(service):
    app = broken_application()
    service.install(app)
    app.add_exception_handler(HTTPException, http_exception_handler)  # type: ignore[arg-type] # FastAPI's own

    async with client(app) as ask:
        assert (await ask.get("/refused")).json() == {"detail": "no"}


async def test_handlers_that_a_part_brings_go_before_problems_and_after_the_applications(service):
    async def of_part(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("of the part", 400)

    class Part(contextlib.AsyncExitStack):
        exception_handlers = {HTTPException: of_part, ValueError: of_part}

    app = broken_application()
    service.install(app)
    service.add(Part())

    @app.exception_handler(ValueError)
    async def on_value(request: Request, error: ValueError) -> PlainTextResponse:
        return PlainTextResponse("own", 400)

    async with client(app) as ask:
        assert (await ask.get("/refused")).text == "of the part"
        assert (await ask.get("/broken")).text == "own"


async def test_a_test_client_sees_the_exception_that_nobody_handled_as_without_a_service(service):
    app = broken_application()
    service.install(app)

    with pytest.raises(ValueError, match="hunter2"):
        await httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
        ).get("/broken")


async def test_debug_shows_the_trace_that_fastapi_shows(service):
    app = broken_application(debug=True)
    service.install(app)

    async with client(app) as ask:
        assert "ValueError: hunter2" in (await ask.get("/broken")).text


def test_a_handler_that_cannot_be_hashed_is_one(service):
    @dataclasses.dataclass
    class Handler:
        text: str

        async def __call__(self, request: Request, error: Exception) -> PlainTextResponse:
            return PlainTextResponse(self.text)

    app = FastAPI()
    handler = Handler("own")
    app.add_exception_handler(HTTPException, handler)
    service.install(app)
    entrance(app)

    assert app.exception_handlers[HTTPException] is handler
