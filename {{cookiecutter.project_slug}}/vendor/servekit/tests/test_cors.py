"""With CORS_ORIGINS set a page of an allowed origin can read every answer of every layer."""

import asyncio

import pytest
from fastapi import Depends, FastAPI, HTTPException, Response

from servekit import Service, Settings, deadline
from servekit.cache import cache_response
from servekit.errors import StoreUnavailable
from servekit.layers.cors import AllowedOrigins
from servekit.layers.rate_limit import RateLimitMiddleware
from servekit.stack import layers
from tests.edge.wire import Client

ORIGIN = "https://app.example.com"
OTHER = "https://evil.example.com"

# One way for each layer to answer by itself: what is asked, and the status.
REFUSALS: dict[str, tuple[str, str, dict[str, str], int]] = {
    "ProbesMiddleware": ("GET", "/readyz", {}, 200),
    "OverloadMiddleware": ("GET", "/overloaded", {}, 503),
    "ErrorsMiddleware": ("GET", "/broken", {}, 500),
    "DeadlineMiddleware": ("GET", "/slow", {}, 504),
    "TrustedHostsMiddleware": ("GET", "/", {"host": "elsewhere.example"}, 400),
    "PreflightMiddleware": ("OPTIONS", "/", {"access-control-request-method": "PUT"}, 200),
    "RateLimitMiddleware": ("GET", "/often", {}, 429),
    "ResponseCacheMiddleware": ("GET", "/cached", {}, 200),
    "BodyLimitMiddleware": ("POST", "/", {"content-length": "999999999"}, 413),
    "CrossSiteMiddleware": ("POST", "/", {"sec-fetch-site": "cross-site"}, 403),
}
SILENT = {  # they only pass on, or change what others answer
    "CorsMiddleware",
    "DrainingMiddleware",
    "RequestIdMiddleware",
    "TelemetryMiddleware",
    "SecurityHeadersMiddleware",
    "ProxyHeadersMiddleware",
    "CompressionMiddleware",
    "SessionMiddleware",
}
ROUTES: dict[str, tuple[str, str, dict[str, str], int]] = {
    "the route": ("GET", "/", {}, 200),
    "no route": ("GET", "/nowhere", {}, 404),
    "another method": ("DELETE", "/", {}, 405),
    "invalid": ("GET", "/number/x", {}, 422),
    "an exception of the domain": ("GET", "/unavailable", {}, 503),
    "an exception of HTTP": ("GET", "/teapot", {}, 418),
}

# To an allowed origin the layer against other sites has nothing to refuse.
READABLE = [case for case in (*REFUSALS, *ROUTES) if case != "CrossSiteMiddleware"]


@pytest.fixture
def settings(make_settings):
    return make_settings(
        Settings,
        cors_origins=[ORIGIN],
        rate_limit_per_minute=1000,
    )


@pytest.fixture
def app(settings):
    app = FastAPI()
    Service(settings).install(app)

    @app.get("/")
    @app.post("/")
    @app.get("/overloaded")
    @app.get("/often")
    async def index() -> str:
        return "index"

    @app.get("/cached", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def cached() -> str:
        return "cached"

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("broken")

    @app.get("/slow", dependencies=[Depends(deadline(0.1))])
    async def slow() -> None:
        await asyncio.sleep(30)

    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise StoreUnavailable

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    @app.get("/own")
    async def own(response: Response) -> str:
        response.headers["access-control-allow-origin"] = "*"
        return "for all"

    return app


@pytest.fixture
def pressed(service, monkeypatch):
    """Have overload refuse one path, and the rate limit another."""

    async def refuse(importance, client):
        return "event_loop_lag"

    async def wait_seconds(layer, key):
        return 5

    async def ask(client, method, path, headers):
        with monkeypatch.context() as patch:
            if path == "/overloaded":
                patch.setattr(service.pressure, "calm", lambda: False)
                patch.setattr(service.pressure, "refuse", refuse)
            if path == "/often":
                patch.setattr(RateLimitMiddleware, "_wait_seconds", wait_seconds)
            return await client.request(method, path, headers=headers)

    return ask


def test_each_layer_has_a_case(service, app):
    stack = {getattr(layer.cls, "__name__", "") for layer in layers(service, app)}
    assert stack == {*REFUSALS, *SILENT}


@pytest.mark.parametrize("case", READABLE)
async def test_every_answer_to_an_allowed_origin_can_be_read(client, pressed, case):
    method, path, headers, status = (REFUSALS | ROUTES)[case]
    for _ in range(2):
        answer = await pressed(client, method, path, {"origin": ORIGIN, **headers})
        assert answer.status_code == status
        assert answer.headers.get_list("access-control-allow-origin") == [ORIGIN]
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("case", [*REFUSALS, *ROUTES])
async def test_no_answer_to_another_origin_can_be_read(client, pressed, case):
    method, path, headers, _ = (REFUSALS | ROUTES)[case]
    for origin in ({"origin": OTHER}, {}):
        answer = await pressed(client, method, path, origin | headers)
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]


async def test_what_a_route_allows_itself_stands(client):
    answer = await client.get("/own", headers={"origin": ORIGIN})
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nOrigin: %b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\nX: " + b"x" * 99_999 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9_999 + b" HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\n\r\n", 414),
    ],
)
async def test_what_the_connection_refuses_can_be_read_too(request_, status):
    for origin, expected in ((ORIGIN, True), (OTHER, False)):
        client = Client(None, headers_for=AllowedOrigins([ORIGIN]).fields)  # type: ignore[arg-type] # never called
        answer = await client.ask(request_ % origin.encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        field = b"\r\naccess-control-allow-origin: %b\r\n" % ORIGIN.encode()
        assert (field in answer) is expected
