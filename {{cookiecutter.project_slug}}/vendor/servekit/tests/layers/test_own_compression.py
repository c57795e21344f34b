"""Compression of the application's own beside ours: each answer is compressed once, one Vary."""

import zlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import brotli  # type: ignore[import-untyped] # it has no types
import pytest
from fastapi import Depends, FastAPI, Header, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit import Service
from servekit.cache import cache_response
from servekit.sessions import SessionDep
from servekit.testing.lifespan import Lifespan
from tests.asgi import call

LONG = "text " * 1000


class Brotli:
    """As those that one installs: it takes each whole answer, and looks at no coding before it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = (
            dict(scope["headers"]).get(b"accept-encoding", b"") if "headers" in scope else b""
        )
        if scope["type"] != "http" or b"br" not in accepted:
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def send_whole(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                compressed = brotli.compress(body)
                headers = MutableHeaders(raw=list(start["headers"]))
                headers["content-encoding"] = "br"
                headers["content-length"] = str(len(compressed))
                headers.append("vary", "Accept-Encoding")
                await send({**start, "headers": headers.raw})
                await send({"type": "http.response.body", "body": compressed})

        await self.app(scope, receive, send_whole)


OWN: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "none": [],
    "gzip": [(GZipMiddleware, {"minimum_size": 10})],
    "brotli": [(Brotli, {})],
    "gzip and CORS": [
        (GZipMiddleware, {"minimum_size": 10}),
        (CORSMiddleware, {"allow_origins": ["https://a.test"]}),
    ],
}


def application(settings, own):  # noqa: C901 - routes side by side
    app = FastAPI()
    Service(settings).install(app)
    for layer, options in OWN[own]:
        app.add_middleware(layer, **options)
    kept = [Depends(cache_response(ttl_seconds=60))]

    @app.get("/long")
    @app.get("/cached", dependencies=kept)
    async def long() -> str:
        return LONG

    @app.get("/small")
    @app.get("/cached-small", dependencies=kept)
    async def small() -> str:
        return "text"

    @app.get("/empty", status_code=204)
    async def empty() -> None: ...

    @app.get("/varies")
    async def varies() -> Response:
        return Response(LONG, headers={"vary": "accept-encoding, X-Lang"}, media_type="text/plain")

    @app.get("/varies-twice")
    async def varies_twice() -> Response:
        answer = Response("small", media_type="text/plain")
        answer.raw_headers += [(b"vary", b"X-Lang"), (b"vary", b"x-lang, Accept-Encoding")]
        return answer

    @app.get("/cached-by-header", dependencies=kept)
    async def by_header(x_lang: Annotated[str, Header()] = "en") -> str:
        return LONG

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for _ in range(10):
                yield LONG

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/session")
    async def session(session: SessionDep) -> str:
        return LONG

    return app


PATHS = {
    "/long": f'"{LONG}"',
    "/cached": f'"{LONG}"',
    "/small": '"text"',
    "/cached-small": '"text"',
    "/varies": LONG,
    "/varies-twice": "small",
    "/cached-by-header": f'"{LONG}"',
    "/stream": LONG * 10,
    "/session": f'"{LONG}"',
}
DECODE = {
    "": lambda body: body,
    "gzip": lambda body: zlib.decompressobj(31).decompress(body),
    "br": brotli.decompress,
}


def text_of(answer):
    codings = [value for name, value in answer.starts[0]["headers"] if name == b"content-encoding"]
    assert len(codings) <= 1
    return DECODE[codings[0].decode() if codings else ""](answer.body).decode()


@pytest.mark.parametrize("coding", ["gzip", "br", "br, gzip", "", "identity"])
@pytest.mark.parametrize("own", OWN)
async def test_each_answer_is_compressed_once_and_has_one_vary(settings, own, coding):
    headers = [("host", "testserver"), ("origin", "https://a.test")]
    headers += [("accept-encoding", coding)] * bool(coding)
    async with Lifespan(application(settings, own)) as app:
        for path, text in PATHS.items():
            for turn in ("first", "again"):
                answer = await call(app, path, headers=headers)
                assert text_of(answer) == text, (path, turn)
                if "cached" in path and turn == "again":
                    assert b"hit" in answer.headers[b"cache-status"]
                given = [value for name, value in answer.starts[0]["headers"] if name == b"vary"]
                assert len(given) <= 1, (path, turn, given)
                names = [name.strip().lower() for value in given for name in value.split(b",")]
                assert len(names) == len(set(names)), (path, turn, given)
                if coding in DECODE and len(text) > 1000 and path != "/session":
                    assert len(answer.body) < len(text) or not coding, (path, turn)
                    assert b"accept-encoding" in names
                length = answer.headers.get(b"content-length", b"%d" % len(answer.body))
                assert int(length) == len(answer.body)


@pytest.mark.parametrize("own", OWN)
async def test_head_of_a_kept_page_has_no_body_and_no_wrong_length(settings, own):
    async with Lifespan(application(settings, own)) as app:
        for coding in ("gzip", ""):
            headers = [("host", "testserver"), ("accept-encoding", coding)]
            got = await call(app, "/cached", headers=headers)
            head = await call(app, "/cached", "HEAD", headers=headers)
            assert head.body == b""
            if own == "none":
                assert head.headers[b"content-length"] == got.headers[b"content-length"]
