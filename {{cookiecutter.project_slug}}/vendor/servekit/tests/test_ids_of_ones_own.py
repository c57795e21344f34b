"""What an application puts into `request.state` under our names is its own, and nobody else's."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.testing.lifespan import Lifespan


@pytest.mark.parametrize("own", ["own", b"x", Decimal(1), object(), None, 7])
@pytest.mark.parametrize("path", ["/missing", "/fails"])
async def test_a_request_has_one_id_in_its_answer_and_in_the_log(make_settings, own, path):
    service = Service(make_settings(Settings))
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)

    @app.middleware("http")
    async def named(request: Request, call_next: Any) -> Any:
        request.state.request_id = request.state.trace_id = own
        return await call_next(request)

    @app.get("/missing")
    async def missing() -> None:
        raise HTTPException(404, "no such thing")

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError

    with capture_logs() as logs:
        async with Lifespan(app) as serve:
            service.ended.write = lambda lines: logs.extend(fields for _, fields in lines)
            transport = httpx2.ASGITransport(serve, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as web:
                answer = await web.get(path)
            await asyncio.sleep(0)
    assert answer.status_code == (404 if path == "/missing" else 500)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    [line] = [line for line in logs if line["event"] == "http_request"]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "trace_id" not in line
