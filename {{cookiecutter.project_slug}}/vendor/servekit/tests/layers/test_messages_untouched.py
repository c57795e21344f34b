"""An application's messages are its own: what a layer changes, it changes in a copy."""

import copy

import pytest
from fastapi import FastAPI

from servekit import Service
from tests.asgi import call

HEADS = {
    "small": [(b"content-length", b"2")],
    "large": [(b"content-type", b"application/json"), (b"content-length", b"5000")],
    "opted out": [(b"content-encoding", b"identity"), (b"content-length", b"5000")],
    "two fields of Vary": [(b"vary", b"a"), (b"vary", b"b"), (b"content-length", b"5000")],
    "no length": [(b"content-type", b"text/csv")],
    "with a cookie": [(b"set-cookie", b"a=b"), (b"content-length", b"2")],
}


@pytest.mark.parametrize("kind", list(HEADS))
async def test_no_layer_writes_into_a_message(kind, settings):
    headers = HEADS[kind]
    size = int(dict(headers).get(b"content-length", b"3000"))
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    body = {"type": "http.response.body", "body": b"x" * size}
    before = copy.deepcopy((start, body))

    async def raw(_scope, _receive, send):
        await send(start)
        await send(body)

    app = FastAPI()
    Service(settings).install(app)
    app.mount("/raw", raw)
    answers = [await call(app, "/raw/", headers=[("accept-encoding", "gzip")]) for _ in range(2)]
    assert (start, body) == before
    ids = [dict(each.headers)[b"x-request-id"] for each in answers]
    assert ids[0] != ids[1]
