"""Exceptions as people write them, and what tools put in the place of the framework's own."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from structlog.testing import capture_logs

from servekit import Service
from servekit.error_chain import chain
from servekit.errors import reason_of
from servekit.testing.lifespan import Lifespan
from servekit.unsendable import UnsendableHead, nothing_was_sent
from tests.response_cache.around import client_of


def own_cause() -> Exception:
    error = ValueError("")
    error.__cause__ = error
    return error


def circle() -> Exception:
    one, two = KeyError(""), ValueError("")
    one.__cause__, two.__cause__ = two, one
    return one


@pytest.mark.parametrize("make", [own_cause, circle])
def test_what_is_its_own_cause_is_looked_at_once(make):
    error = make()
    assert len({id(each) for each in chain(error)}) == len(list(chain(error)))
    assert not nothing_was_sent(error)
    assert reason_of(error) in {"ValueError", "''", "KeyError"}
    head = UnsendableHead("x")
    error.__context__ = error.__cause__ = None
    error.__context__ = head
    assert nothing_was_sent(error)


async def test_a_background_task_may_raise_an_error_from_itself(settings):
    app = FastAPI()
    Service(settings).install(app)

    def mail():
        try:
            int("smtp")
        except ValueError as error:
            raise error from error

    @app.get("/")
    async def root(tasks: BackgroundTasks) -> int:
        tasks.add_task(mail)
        return 1

    with capture_logs() as logs, contextlib.suppress(ValueError):
        async with client_of(app) as client:
            assert (await client.get("/")).json() == 1
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["unhandled_exception"]


async def test_an_exception_that_is_frozen_is_answered_and_recorded(settings):
    @dataclass(frozen=True)
    class OutOfStock(Exception):  # noqa: N818 - as people write it
        item: str

    app = FastAPI()
    Service(settings).install(app)

    @app.get("/")
    async def root() -> str:
        raise OutOfStock("pear")

    messages = []

    async def send(message):
        messages.append(message)

    async with Lifespan(app) as running:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "raw_path": b"/",
            "headers": [(b"host", b"localhost")],
        }
        scope |= {"query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1"}
        with capture_logs() as logs, contextlib.suppress(OutOfStock):
            await running(scope, asyncio.Event().wait, send)  # type: ignore[arg-type] # reads none
    assert messages[0]["status"] == 500
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["unhandled_exception"]


async def test_what_a_tool_puts_in_the_place_of_a_layer_is_called(settings, monkeypatch):
    called = []
    original = ExceptionMiddleware.__call__

    async def traced(self, scope, receive, send):
        called.append(scope["type"])
        await original(self, scope, receive, send)

    monkeypatch.setattr(ExceptionMiddleware, "__call__", traced)
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    Service(settings).install(app)

    @app.get("/")
    async def root() -> int:
        return 1

    async with client_of(app) as client:
        assert (await client.get("/")).json() == 1
    assert "http" in called


async def test_a_part_that_is_added_when_all_are_open_is_refused(settings):
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        service.add(contextlib.AsyncExitStack())
        yield

    app = FastAPI(lifespan=lifespan)
    service.install(app)
    with pytest.raises(RuntimeError, match="AsyncExitStack cannot be added any more"):
        async with Lifespan(app):
            pass
