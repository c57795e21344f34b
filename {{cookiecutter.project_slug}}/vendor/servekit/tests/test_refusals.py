"""Whatever refuses a request says in the log why, and which setting to change; the client is told
the limit, never the setting."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request
from structlog.testing import capture_logs

from servekit import Service, Settings, deadline
from servekit.admission.layer import SETTINGS
from servekit.edge import refusals
from servekit.edge.limits import ConnectionLimits
from servekit.edge.refusals import REFUSALS, Refusals
from servekit.layers.rate_limit import RateLimitMiddleware
from tests.edge.wire import Client

LIMITS: dict[str, Any] = {"limit_body_bytes": 100, "rate_limit_per_minute": 1000}
CROSS_SITE = {"sec-fetch-site": "cross-site", "origin": "https://other.example", "cookie": "a=b"}
PATH_OF_OVERLOAD = "/overload/"

# What is asked, the status, the setting in the record, and what the client is told.
LAYERS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "an announced body": ({"content": b"x" * 101}, 413, "LIMIT_BODY_BYTES", "100 bytes"),
    "a streamed body": ({"content": ...}, 413, "LIMIT_BODY_BYTES", "100 bytes"),
    "a host": ({"headers": {"host": "elsewhere.example"}}, 400, "ALLOWED_HOSTS", "Unknown host"),
    "a client's rate": ({"path": "/often"}, 429, "RATE_LIMIT_PER_MINUTE", "1000 requests"),
    "the time of all": ({"path": "/slow"}, 504, "TIMEOUT_REQUEST_SECONDS", "0.2 seconds"),
    "a route's own time": ({"path": "/slower"}, 504, "deadline() of the route", "0.1 seconds"),
    "another site": ({"headers": CROSS_SITE}, 403, "CORS_ORIGINS", "another site"),
}
LAYERS |= {
    f"overload by {reason}": ({"path": PATH_OF_OVERLOAD + reason}, 503, setting, "Unavailable")
    for reason, setting in SETTINGS.items()
}
EDGE: dict[str, tuple[bytes, int, str]] = {
    "target": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "LIMIT_URI_BYTES"),
    "target without end": (b"GET /" + b"x" * 40_000, 414, "LIMIT_URI_BYTES"),
    "fields": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "LIMIT_HEADER_COUNT",
    ),
    "a field": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431,
        "LIMIT_HEADER_BYTES",
    ),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, ""),
    "an old version": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400, ""),
    "no HTTP": (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
}  # fmt: skip


@pytest.fixture
def settings(make_settings):
    return make_settings(Settings, **LIMITS, timeout_request_seconds=0.2)


@pytest.fixture
def app(settings, monkeypatch):
    app = FastAPI()
    service = Service(settings)
    service.install(app)

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.post("/often")
    async def often() -> None:
        pass

    @app.post("/slow")
    @app.post("/slower", dependencies=[Depends(deadline(0.1))])
    async def slow() -> None:
        await asyncio.sleep(30)

    async def wait_seconds(layer: Any, key: str) -> int:
        return 5

    monkeypatch.setattr(RateLimitMiddleware, "_wait_seconds", wait_seconds)
    return app


async def pieces():
    for _ in range(20):
        yield b"x" * 10


async def refused(client: httpx2.AsyncClient, service: Service, asked: Any, patch: Any) -> Any:
    """Send what is to be refused, only the rate limit or overload where the path says so."""
    asked = {"path": "/", **asked}
    path = asked.pop("path")
    if asked.get("content") is ...:
        asked["content"] = pieces()
    if path != "/often":
        patch.setattr(RateLimitMiddleware, "_wait_seconds", nothing_to_wait)
    if path.startswith(PATH_OF_OVERLOAD):
        patch.setattr(service.pressure, "calm", lambda: False)

        async def refuse(*_: Any) -> str:
            return str(path.removeprefix(PATH_OF_OVERLOAD))

        patch.setattr(service.pressure, "refuse", refuse)
    return await client.post(path, **asked)


async def nothing_to_wait(layer: Any, key: str) -> int:
    return 0


@pytest.mark.parametrize("case", LAYERS)
async def test_every_layer_names_setting_and_cause(client, service, monkeypatch, case):
    asked, status, setting, told = LAYERS[case]
    with capture_logs() as logs:
        answer = await refused(client, service, asked, monkeypatch)
    assert answer.status_code == status
    [record] = [log for log in logs if "setting" in log]
    assert (record["status"], record["setting"]) == (status, setting)
    assert record["cause"]
    assert record["log_level"] == "warning"
    assert told in answer.json()["detail"]
    assert setting not in answer.text
    if status == 413:
        assert (record["limit"], record["size"]) == (100, 101 if "announced" in case else 110)


@pytest.mark.parametrize("case", EDGE)
async def test_every_connection_names_setting_and_cause(case):
    request, status, setting = EDGE[case]

    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("refused before")

    with capture_logs() as logs:
        answer = await Client(never).ask(request)
    [record] = [log for log in logs if log["event"] == "request_refused"]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (record["status"], record.get("setting", "")) == (status, setting)
    assert record["cause"]
    if setting:
        assert record["size"] > record["limit"]
        assert str(record["limit"]) in json.loads(body)["detail"]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_answer_of_a_connection_tells_its_limit(refusal):
    limits = ConnectionLimits(header_seconds=1, body_seconds=2, uri_bytes=300)
    with capture_logs() as logs:
        answer = Refusals([], limits=limits).answer(refusal)
    detail = json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    limit = getattr(limits, refusal.field, None)
    assert logs[0].get("limit") == limit
    assert logs[0].get("setting", "") == refusal.setting
    assert (str(limit) in detail) == (limit is not None and refusal is not refusals.CROWDED_OUT)


def test_the_settings_that_records_name_are_there():
    named = {setting for _, _, setting, _ in LAYERS.values()} | {each.setting for each in REFUSALS}
    variables = {name.upper() for name in Settings.model_fields}
    assert named - variables == {"deadline() of the route", ""}


def test_the_guide_lists_every_refusal_with_its_setting():
    guide = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
    section = guide.partition("## What is refused\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    found = [(each.status, each.setting) for each in REFUSALS if each is not refusals.FAULT]
    found += [(status, setting) for _, status, setting, _ in LAYERS.values()]
    for status, setting in found:
        name = setting.partition(" ")[0]
        assert any(f"| {status} " in row and name in row for row in rows), (status, setting)
