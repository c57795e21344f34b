"""An application's messages are its own: a layer changes copies, and sends none too late."""

import asyncio
import copy
from collections.abc import Callable
from functools import partial

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from servekit import Service
from servekit.draining import Draining
from servekit.layers.compression import CompressionMiddleware
from servekit.layers.cors import AllowedOrigins, CorsMiddleware
from servekit.layers.draining import DrainingMiddleware
from servekit.layers.request_id import RequestIdMiddleware
from servekit.layers.security_headers import SecurityHeadersMiddleware, default_security_headers
from tests.asgi import call, http_scope

HEADS = {
    "small": [(b"content-length", b"2")],
    "large": [(b"content-type", b"application/json"), (b"content-length", b"5000")],
    "opted out": [(b"content-encoding", b"identity"), (b"content-length", b"5000")],
    "two fields of Vary": [(b"vary", b"a"), (b"vary", b"b"), (b"content-length", b"5000")],
    "no length": [(b"content-type", b"text/csv")],
    "with a cookie": [(b"set-cookie", b"a=b"), (b"content-length", b"2")],
}


def begun():
    draining = Draining()
    draining.begin()
    return draining


LAYERS: dict[str, Callable[..., ASGIApp]] = {
    "request id": RequestIdMiddleware,
    "security headers": partial(SecurityHeadersMiddleware, headers=default_security_headers()),
    "compression": CompressionMiddleware,
    "CORS": partial(CorsMiddleware, origins=AllowedOrigins(["https://a.example"])),
    "draining": partial(DrainingMiddleware, draining=begun()),
}


def installed(raw, settings):
    app = FastAPI()
    Service(settings).install(app)
    app.mount("/raw", raw)
    return app


@pytest.mark.parametrize("kind", list(HEADS))
@pytest.mark.parametrize("layer", [*LAYERS, "all of a service"])
async def test_no_layer_writes_into_a_message(layer, kind, settings):
    headers = HEADS[kind]
    size = int(dict(headers).get(b"content-length", b"3000"))
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    body = {"type": "http.response.body", "body": b"x" * size}
    before = copy.deepcopy((start, body))

    async def raw(_scope, _receive, send):
        await send(start)
        await send(body)

    app = LAYERS[layer](raw) if layer in LAYERS else installed(raw, settings)
    asked = [("accept-encoding", "gzip"), ("origin", "https://a.example")]
    answers = [await call(app, "/raw/", headers=asked) for _ in range(2)]
    assert (start, body) == before
    if "request id" in layer:
        assert answers[0].headers != answers[1].headers


async def test_a_head_that_waited_is_not_sent_after_the_handler_failed():
    messages = []

    async def failing(_scope, _receive, send):
        headers = HEADS["large"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ZeroDivisionError

    async def send(message):
        messages.append(message)

    scope = http_scope(headers=[("accept-encoding", "gzip")])
    with pytest.raises(ZeroDivisionError):
        await CompressionMiddleware(failing)(scope, None, send)  # type: ignore[arg-type] # reads none
    for _ in range(5):
        await asyncio.sleep(0)
    assert messages == []
