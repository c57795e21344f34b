import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from servekit.layers.request_metrics import RequestMetrics
from servekit.layers.telemetry import EndedRequests, TelemetryMiddleware
from servekit.scope import REQUEST_ID_KEY, TRACE_ID_KEY
from tests import asgi
from tests.asgi import answers, foreign, passed

NAME = "http_server_request_duration_seconds"


def measured(app) -> tuple[TelemetryMiddleware, CollectorRegistry]:
    registry = CollectorRegistry()
    return TelemetryMiddleware(app, registry=registry), registry


async def call(*arguments, **changes) -> asgi.Answer:
    """Call, and let the turn of the loop end in which the request did."""
    try:
        return await asgi.call(*arguments, **changes)
    finally:
        await asyncio.sleep(0)


async def test_requests_that_end_in_one_turn_of_the_loop_are_written_together():
    batches: list[Any] = []
    ended = EndedRequests(RequestMetrics(), batches.append)
    app = TelemetryMiddleware(answers(), registry=CollectorRegistry(), ended=ended)
    await asyncio.gather(*(asgi.call(app, f"/{number}") for number in range(5)))
    await asyncio.sleep(0)
    assert [fields["path"] for batch in batches for _, fields in batch] == [
        "/0",
        "/1",
        "/2",
        "/3",
        "/4",
    ]
    assert len(batches) == 1
    assert app.metrics.total == 5


def count(registry, method, route, status):
    labels = {"method": method, "route": route, "status": status}
    return registry.get_sample_value(f"{NAME}_count", labels)


async def test_each_request_is_counted_by_method_route_and_status():
    app, registry = measured(answers(201))
    context = type("Context", (), {"path": "/products/{id}"})()
    scope: dict[str, Any] = {"fastapi": {"effective_route_context": context}}
    await call(app, "/products/7", **scope)
    await call(app, "/products/8", **scope)
    await call(app, "/nowhere")
    await call(app, "/nowhere", "BREW")
    assert count(registry, "GET", "/products/{id}", "201") == 2
    assert count(registry, "GET", "", "201") == 1
    assert count(registry, "_OTHER", "", "201") == 1
    assert app.metrics.total == 4


async def test_the_histogram_has_the_buckets_of_opentelemetry():
    app, registry = measured(answers())
    app.metrics.observe("GET", "/", 200, 0.005)
    app.metrics.observe("GET", "/", 200, 0.3)
    app.metrics.observe("GET", "/", 200, 60)
    text = generate_latest(registry).decode()
    buckets = [line for line in text.splitlines() if line.startswith(f"{NAME}_bucket")]
    bounds = " ".join(line.partition('le="')[2].split('"')[0] for line in buckets)
    assert bounds == "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 +Inf"
    counts = [float(line.rsplit(" ", 1)[1]) for line in buckets]
    assert counts == [1] * 7 + [2] * 7 + [3]
    assert registry.get_sample_value(
        f"{NAME}_sum", {"method": "GET", "route": "/", "status": "200"}
    ) == pytest.approx(60.305)


async def test_requests_in_progress_are_shown_and_end():
    release = asyncio.Event()

    async def slow(scope, receive, send):
        await release.wait()
        await answers()(scope, receive, send)

    app, registry = measured(slow)
    task = asyncio.create_task(call(app))
    await asyncio.sleep(0)
    assert registry.get_sample_value("http_server_active_requests") == 1
    release.set()
    await task
    assert registry.get_sample_value("http_server_active_requests") == 0


async def test_one_line_tells_what_happened_and_keeps_the_query_to_itself():
    app, _ = measured(answers(body=b"12345"))
    with capture_logs() as lines:
        await call(
            app, "/a", query_string=b"token=secret", **{REQUEST_ID_KEY: "r1", TRACE_ID_KEY: "t1"}
        )
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "http_request",
        "log_level": "info",
        "method": "GET",
        "path": "/a",
        "route": "",
        "status": 200,
        "response_bytes": 5,
        "client": "192.0.2.1",
        "request_id": "r1",
        "trace_id": "t1",
    }


async def test_a_failure_of_ours_is_a_warning():
    app, _ = measured(answers(503))
    with capture_logs() as lines:
        await call(app)
    assert lines[0]["log_level"] == "warning"


async def test_a_request_without_an_answer_counts_as_closed_by_its_client():
    async def gone(scope, receive, send):
        raise asyncio.CancelledError

    app, registry = measured(gone)
    with pytest.raises(asyncio.CancelledError):
        await call(app)
    assert count(registry, "GET", "", "499") == 1
    assert app.metrics.active == 0


async def test_background_work_is_not_the_clients_time():
    async def background(scope, receive, send):
        await answers()(scope, receive, send)
        await asyncio.sleep(0.1)

    app, _ = measured(background)
    with capture_logs() as lines:
        await call(app)
    assert lines[0]["duration_ms"] < 80


async def test_other_scopes_pass():
    assert await passed(measured(foreign)[0], {"type": "websocket"})
