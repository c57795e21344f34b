import asyncio

import httpx2
import orjson
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from servekit.admission.importance import Importances
from servekit.admission.layer import OverloadMiddleware
from servekit.admission.pressure import Pressure
from servekit.monitors.loop_monitor import LoopMonitor


async def slow(request: Request) -> PlainTextResponse:
    await asyncio.sleep(0.05)
    return PlainTextResponse("done")


def service(registry, requests=1, **options):
    app = Starlette(routes=[Route("/{path:path}", slow, methods=["GET", "POST"])])
    pressure = Pressure(LoopMonitor(registry=CollectorRegistry()), requests=requests)
    return OverloadMiddleware(app, pressure=pressure, registry=registry, **options)


def client(app):
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def test_a_refusal_is_a_small_problem_with_jittered_retry_after_and_one_log_line():
    registry = CollectorRegistry()
    with capture_logs() as logs:
        async with client(service(registry)) as http:
            answers = await asyncio.gather(*(http.get("/orders") for _ in range(40)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 39
    assert len({answer.headers["retry-after"] for answer in refused}) > 1
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert "connection" not in refused[0].headers
    assert len(refused[0].content) <= 200
    assert orjson.loads(refused[0].content)["status"] == 503
    assert registry.get_sample_value("http_requests_shed_total", {"reason": "requests"}) == 39
    assert [(log["cause"], log["setting"]) for log in logs] == [("requests", "PRESSURE_REQUESTS")]


async def test_critical_paths_go_last_and_sheddable_ones_first():
    importances = Importances(critical=("/checkout",), sheddable=("/reports",))
    app = service(CollectorRegistry(), requests=10, importances=importances)
    async with client(app) as http:
        app._pressure.in_flight = 8
        assert (await http.get("/reports/1")).status_code == 503
        assert (await http.get("/orders/1")).status_code == 200
        app._pressure.in_flight = 10
        assert (await http.get("/orders/1")).status_code == 503
        assert (await http.get("/checkout")).status_code == 200


async def test_requests_in_flight_are_counted_until_they_end_even_badly():
    async def fails(scope, receive, send):
        raise RuntimeError

    app = service(CollectorRegistry())
    app.app = fails
    async with client(app) as http:
        for _ in range(3):
            try:
                await http.get("/")
            except RuntimeError:
                continue
    assert app._pressure.in_flight == 0


async def test_a_dry_run_counts_and_refuses_nothing():
    registry = CollectorRegistry()
    async with client(service(registry, dry_run=True)) as http:
        answers = await asyncio.gather(*(http.get("/") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    labels = {"reason": "requests"}
    assert registry.get_sample_value("http_requests_shed_dry_run_total", labels) == 4
    assert registry.get_sample_value("http_requests_shed_total", labels) is None


async def test_given_headers_go_with_each_refusal():
    app = service(CollectorRegistry(), headers=[(b"x-content-type-options", b"nosniff")])
    app._pressure.in_flight = 1
    async with client(app) as http:
        answer = await http.get("/")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("hops", "client_seen"), [(0, "127.0.0.1"), (1, "203.0.113.9")])
async def test_the_client_is_the_one_that_trusted_proxies_tell(hops, client_seen, monkeypatch):
    app = service(CollectorRegistry(), hops=hops)
    seen = []

    async def refuse(importance, client):
        seen.append(client)

    monkeypatch.setattr(app._pressure, "refuse", refuse)
    app._pressure.in_flight = 1
    async with client(app) as http:
        await http.get("/", headers={"x-forwarded-for": "198.51.100.1, 203.0.113.9"})
    assert seen == [client_seen]


async def test_other_scopes_pass():
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope["type"])

    app = service(CollectorRegistry())
    app.app = inner
    await app({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


async def test_the_level_is_exported():
    registry = CollectorRegistry()
    app = service(registry)
    app._pressure.level = 0.5
    assert registry.get_sample_value("pressure_level_ratio") == 0.5


async def test_open_websockets_are_counted():
    async def socket(scope, receive, send):
        assert app._pressure.websockets == 1

    app = service(CollectorRegistry())
    app.app = socket
    await app({"type": "websocket", "path": "/"}, None, None)
    assert app._pressure.websockets == 0
