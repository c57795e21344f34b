"""A context variable that a middleware sets is in no key, and no page says what it held."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

import opentelemetry.baggage
import opentelemetry.context
import opentelemetry.trace
import pytest
from fastapi import FastAPI, Request

from servekit import Service
from servekit.response_cache.boundary import FOR_LOGS, span_alone
from tests.response_cache.around import KEPT, client_of, is_hit


@pytest.fixture
def app(settings) -> FastAPI:
    app = FastAPI()
    Service(settings).install(app)
    return app


def of(name: str, **options: Any) -> ContextVar[Any]:
    return ContextVar(name, **options)


def baggage(user: str) -> object:
    return opentelemetry.baggage.set_baggage("user", user)


class Span(opentelemetry.trace.NonRecordingSpan):
    """A span that says whose it is."""

    __module__ = "opentelemetry.sdk"

    def __init__(self, user: str) -> None:
        super().__init__(opentelemetry.trace.SpanContext(1, 2, is_remote=False))
        self.user = user


def of_span(value: object) -> object:
    return getattr(value, "user", value)


OF_USERS: dict[str, tuple[ContextVar[Any], Callable[[str], object], Callable[[Any], object]]] = {
    **{
        name: (of(name, default=""), str, str)
        for name in ("user", "current_context", *sorted(FOR_LOGS))
    },
    "request_id without default": (of("request_id"), str, str),
    "structlog's": (of("structlog_user", default=...), str, str),
    "a span of": (of("current_span", default=None), Span, of_span),
    "structlog's span": (of("structlog_span", default=...), Span, of_span),
    "request_id's span": (of("request_id", default=None), Span, of_span),
    "OpenTelemetry's": (
        of("current_context", default=opentelemetry.context.Context()),
        baggage,
        lambda context: opentelemetry.baggage.get_baggage("user", context),
    ),
}


@pytest.mark.parametrize("name", OF_USERS)
async def test_no_page_says_what_a_context_variable_held_for_another(app: FastAPI, name: str):
    variable, write, read = OF_USERS[name]

    @app.middleware("http")
    async def set_user(request: Request, call_next: Any) -> Any:
        variable.set(write(request.headers["x-user"]))
        return await call_next(request)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return f"page of {read(variable.get())}"

    async with client_of(app) as client:
        for user in ("alice", "bob", "alice"):
            # In a context of its own, as servers have it.
            asked = client.get("/page", headers={"x-user": user})
            answer = await asyncio.create_task(asked)
            assert "page of" in answer.text
            assert not {"alice", "bob"} - {user} & set(answer.text.strip('"').split())
    kept = name in FOR_LOGS or "'s" in name
    assert is_hit(answer) is kept


async def test_a_run_for_all_keeps_the_span_that_it_belongs_to():
    span = opentelemetry.trace.NonRecordingSpan(
        opentelemetry.trace.SpanContext(1, 2, is_remote=False)
    )
    context = opentelemetry.trace.set_span_in_context(span, cast("Any", baggage("alice")))
    alone = span_alone(context)
    assert opentelemetry.trace.get_current_span(alone) is span
    assert opentelemetry.baggage.get_all(alone) == {}
