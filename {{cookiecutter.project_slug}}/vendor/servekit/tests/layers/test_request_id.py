import os
import warnings

import httpx2
import pytest
from fastapi import FastAPI, Request
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

from servekit import Service, Settings
from servekit.layers.request_id import RequestIdMiddleware, RequestIds
from servekit.testing.lifespan import Lifespan
from tests.asgi import answers, call, foreign, http_scope, passed

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_sane_id_is_kept_and_returned():
    answer = await call(RequestIdMiddleware(answers()), headers=[("x-request-id", "order-1.2_3")])
    assert answer.headers[b"x-request-id"] == b"order-1.2_3"
    assert answer.scope["state"]["request_id"] == "order-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "x\n", "é", "a" * 129, '{"a":1}', "\x1b[31m"])
async def test_any_other_id_is_replaced(given):
    answer = await call(RequestIdMiddleware(answers()), headers=[("x-request-id", given)])
    made = answer.headers[b"x-request-id"].decode()
    assert made != given
    assert len(made) == 32
    assert int(made, 16)


def test_made_ids_differ_also_between_forked_processes():
    made = RequestIds()
    ids = {made.new() for _ in range(1000)}
    assert len(ids) == 1000
    prefix = made.new()[:24]
    assert all(name.startswith(prefix) for name in ids)
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()  # newer Pythons warn about the threads of other tests
    if not child:
        os.write(writer, made.new().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert not os.read(reader, 100).decode().startswith(prefix)
    os.close(reader)
    os.close(writer)


async def test_the_id_and_a_valid_trace_id_are_bound_to_the_log_and_let_go_of():
    seen = []

    async def app(scope, receive, send):
        seen.append(get_contextvars())
        await answers()(scope, receive, send)

    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    await call(RequestIdMiddleware(app), headers=[("x-request-id", "a"), ("traceparent", parent)])
    assert seen == [{"request_id": "a", "trace_id": TRACE}]
    assert get_contextvars() == {}


@pytest.mark.parametrize(
    "parent",
    [f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", "00-x", TRACE],
)
async def test_an_invalid_traceparent_is_ignored(parent):
    seen = []

    async def app(scope, receive, send):
        seen.append(get_contextvars())
        await answers()(scope, receive, send)

    await call(RequestIdMiddleware(app), headers=[("x-request-id", "a"), ("traceparent", parent)])
    assert seen == [{"request_id": "a"}]


@pytest.mark.parametrize("parent", [None, f"00-{TRACE}-00f067aa0ba902b7-01"])
async def test_the_log_names_the_trace_that_the_collector_gets(make_settings, parent):
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = FastAPI(telemetry={"tracing": True, "tracer_provider": provider})
    Service(make_settings(Settings)).install(app)

    @app.get("/slow")
    async def slow(request: Request) -> list[str]:
        return [request.state.trace_id, get_contextvars()["trace_id"]]

    transport = httpx2.ASGITransport(app=app)
    headers = {"traceparent": parent} if parent else {}
    async with (
        Lifespan(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        said = (await client.get("/slow", headers=headers)).json()
    (trace,) = {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()}
    assert said == [trace, trace]
    assert parent is None or trace == TRACE


async def test_what_others_bound_survives():
    bind_contextvars(task="warm")
    await call(RequestIdMiddleware(answers()))
    assert get_contextvars() == {"task": "warm"}
    unbind_contextvars("task")


async def test_an_answer_that_is_used_again_does_not_collect_ids():
    headers = [(b"content-type", b"text/plain")]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    await call(RequestIdMiddleware(app))
    assert headers == [(b"content-type", b"text/plain")]


async def test_other_scopes_pass():
    assert await passed(RequestIdMiddleware(foreign), {"type": "lifespan"})
    scope = http_scope(type="websocket")
    assert await passed(RequestIdMiddleware(foreign), scope)
    assert scope["state"]["request_id"]
