import asyncio
import itertools
import random
import sys
import zlib
from types import SimpleNamespace
from typing import Any

import brotli  # type: ignore[import-untyped] # has no stubs
import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse

from servekit.layers.compression import CompressionMiddleware
from tests.asgi import answers, call, foreign, http_scope, passed

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from zstandard import ZstdDecompressor as Zstandard

    def ZstdDecompressor():  # noqa: N802 - stands in for the class of newer Pythons
        return Zstandard().decompressobj()


TEXT = b'{"name": "product", "tags": ["red", "green"]}' * 100
JSON = [(b"content-type", b"application/json")]
DECODERS = {
    b"zstd": lambda data: ZstdDecompressor().decompress(data),
    b"br": brotli.decompress,
    b"gzip": lambda data: zlib.decompress(data, 31),
}


def accepting(coding: str) -> list[tuple[str, str]]:
    return [("accept-encoding", coding)]


async def compressed(coding="zstd", body=TEXT, headers=JSON, status=200, **changes):
    app = CompressionMiddleware(answers(status, body, headers))
    return await call(app, headers=accepting(coding), **changes)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", b"zstd"),
        ("gzip, br", b"br"),
        ("GZIP", b"gzip"),
        ("zstd;q=0, *", b"br"),
        ("br;q=0, *;q=0.1", b"zstd"),
        ("gzip; Q=0.5", b"gzip"),
    ],
)
async def test_a_client_gets_the_best_coding_that_it_takes(accepted, coding):
    answer = await compressed(accepted)
    assert answer.headers[b"content-encoding"] == coding
    assert DECODERS[coding](answer.body) == TEXT
    assert int(answer.headers[b"content-length"]) == len(answer.body) < len(TEXT) / 10
    assert answer.headers[b"vary"] == b"Accept-Encoding"


@pytest.mark.parametrize(
    "accepted", ["", "identity", "gzip;q=0", "gzip;q=x", "gzip;q=nan", "*;q=0", "deflate", ";;,"]
)
async def test_a_client_that_takes_none_gets_identity_and_vary(accepted):
    answer = await compressed(accepted)
    assert b"content-encoding" not in answer.headers
    assert answer.body == TEXT
    assert answer.headers[b"content-length"] == b"%d" % len(TEXT)
    assert answer.headers[b"vary"] == b"Accept-Encoding"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (TEXT[:999], JSON, 200),
        (TEXT, [(b"content-type", b"image/png")], 200),
        (TEXT, [*JSON, (b"content-encoding", b"br")], 200),
        (TEXT, [*JSON, (b"content-range", b"bytes 0-1/2")], 200),
        (TEXT, [(b"x-kind", b"none")], 200),
    ],
)
async def test_what_is_small_encoded_partial_or_incompressible_passes(body, headers, status):
    answer = await compressed(body=body, headers=headers, status=status)
    assert answer.body == body
    assert set(headers) <= set(answer.starts[0]["headers"])
    assert b"zstd" not in answer.headers.values()


@pytest.mark.parametrize(
    "kind",
    [b"text/csv; charset=utf-8", b"application/problem+json", b"Text/HTML", b"image/svg+xml"],
)
async def test_text_of_any_kind_is_compressed(kind):
    answer = await compressed(headers=[(b"content-type", kind)])
    assert answer.headers[b"content-encoding"] == b"zstd"


async def test_a_strong_etag_becomes_weak_and_vary_is_kept():
    fields = [*JSON, (b"etag", b'"v1"'), (b"vary", b"Accept"), (b"vary", b"Origin")]
    answer = await compressed(headers=fields)
    assert answer.headers[b"etag"] == b'W/"v1"'
    assert answer.headers[b"vary"] == b"Accept, Origin, Accept-Encoding"
    assert (await compressed("identity", headers=fields)).headers[b"etag"] == b'"v1"'
    weak = await compressed(headers=[*JSON, (b"etag", b'W/"v1"'), (b"vary", b"accept-encoding")])
    assert weak.headers[b"etag"] == b'W/"v1"'
    assert weak.headers[b"vary"].lower().startswith(b"accept-encoding")


@pytest.mark.parametrize("word", [b"none", b"identity", b"None", b" IDENTITY "])
@pytest.mark.parametrize("name", [b"content-encoding", b"Content-Encoding"])
@pytest.mark.parametrize("body", [TEXT, b"small"], ids=["large", "small"])
@pytest.mark.parametrize("coding", ["zstd", ""])
async def test_a_route_may_opt_out_by_a_word_that_is_not_sent_on(word, name, body, coding):
    answer = await compressed(coding, body, headers=[*JSON, (name, word)])
    assert answer.body == body
    assert b"content-encoding" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Cache-Control", b"public, No-Transform"),
        (b"content-digest", b"sha-256=:1:"),
        (b"Repr-Digest", b"sha-256=:1:"),
        (b"Digest", b"sha-256=1"),
        (b"Content-MD5", b"1"),
    ],
)
async def test_what_must_not_change_is_sent_as_it_is(name, value):
    answer = await compressed(headers=[*JSON, (name, value)])
    assert answer.body == TEXT
    assert answer.headers[name] == value
    assert b"content-encoding" not in answer.headers


@pytest.mark.parametrize("vary", [b"Cookie", b"Accept, cookie", b"Origin", None])
@pytest.mark.parametrize("site", ["same-origin", "none", "same-site", "cross-site", "", "x", None])
async def test_the_length_of_what_depends_on_cookies_tells_other_sites_nothing(site, vary):
    """BREACH: a page that makes the browser ask with guesses in the URL sees lengths only."""
    fields = JSON if vary is None else [*JSON, (b"vary", vary)]
    own = [] if site is None else [("sec-fetch-site", site)]
    app = CompressionMiddleware(answers(200, TEXT, fields))
    answer = await call(app, headers=[*accepting("gzip"), *own])

    personal = vary is not None and b"cookie" in vary.lower()
    is_compressed = site in {"same-origin", "none"} or not personal
    assert (b"content-encoding" in answer.headers) == is_compressed
    assert len(answer.body) == len(TEXT) or is_compressed


async def test_a_head_request_keeps_the_length_of_its_representation():
    async def app(scope, receive, send):
        fields = [*JSON, (b"content-length", b"5000")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    answer = await call(CompressionMiddleware(app), method="HEAD", headers=accepting("gzip"))
    assert answer.headers[b"content-length"] == b"5000"


KINDS = ["text/event-stream", "application/x-ndjson", "text/plain", "text/html; charset=utf-8"]
KINDS += ["application/json", "text/csv", "application/problem+json", "image/png"]
SIZES = [[20] * 5, [1], [5000, 3, 70_000], [1000, 0, 1000], [200_000]]


def decoder_of(headers):
    coding = headers.get(b"content-encoding", b"")
    return {
        b"zstd": ZstdDecompressor().decompress,
        b"br": brotli_decoder(),
        b"gzip": zlib.decompressobj(31).decompress,
        b"": bytes,
    }[coding]


def brotli_decoder():
    process = brotli.Decompressor().process

    def decode(data: bytes) -> bytes:
        """Return all that can be read: each call of the library gives a part of it."""
        read = process(data)
        while more := process(b""):
            read += more
        return bytes(read)

    return decode


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip", ""])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_can_read_each_piece_when_it_was_sent(coding, kind):
    for length, pause, sizes in itertools.product([True, False], [True, False], SIZES):
        await assert_pieces_arrive(coding, kind, length, pause, sizes)


async def assert_pieces_arrive(coding, kind, length, pause, sizes):
    pieces = [random.Random(size).randbytes(size // 2).hex().encode() or b"x" for size in sizes]
    fields = [(b"content-type", kind.encode())]
    if length:
        fields.append((b"content-length", b"%d" % sum(map(len, pieces))))
    sent: list[Any] = []
    read: list[bytes] = []
    decode: list[Any] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if pause:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if pause or not length:
            assert [message["type"] for message in sent] == ["http.response.start"]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            assert b"".join(read).endswith(piece), "a piece that was sent cannot be read yet"
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.start":
            decode.append(decoder_of(dict(message["headers"])))
        elif message["body"]:
            read.append(decode[0](message["body"]))

    scope = http_scope(headers=accepting(coding))
    await CompressionMiddleware(app)(scope, None, send)  # type: ignore[arg-type] # never received from
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == kind.encode()
    assert b"".join(read) == b"".join(pieces)
    assert (b"content-encoding" in headers) is (
        coding != "" and "image" not in kind and big(fields)
    )
    assert sent[-1].get("more_body", False) is False
    assert [message["type"] for message in sent].count("http.response.start") == 1


def big(fields):
    return int(dict(fields).get(b"content-length", 9999)) >= 1000


async def test_a_whole_answer_has_a_length():
    for coding in DECODERS:
        answer = await compressed(coding.decode())
        assert answer.headers[b"content-length"] == b"%d" % len(answer.body)
        assert len(answer.bodies) == 1


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
async def test_a_streamed_download_is_whole(coding):
    app = FastAPI()
    rows = [b"%d;name;%d\n" % (number, number * 7) for number in range(20_000)]

    @app.get("/")
    async def export() -> StreamingResponse:
        async def pieces():
            for start in range(0, len(rows), 500):
                yield b"".join(rows[start : start + 500])

        return StreamingResponse(pieces(), media_type="text/csv")

    answer = await call(CompressionMiddleware(app), headers=accepting(coding))
    assert DECODERS[coding.encode()](answer.body) == b"".join(rows)


async def test_a_file_is_whole(tmp_path):
    path = tmp_path / "big.json"
    path.write_bytes(TEXT * 50)
    app = FastAPI()

    @app.get("/")
    async def download() -> FileResponse:
        return FileResponse(path)

    answer = await call(CompressionMiddleware(app), headers=accepting("gzip"))
    assert DECODERS[b"gzip"](answer.body) == TEXT * 50
    assert answer.headers[b"etag"].startswith(b"W/")


async def test_an_unknown_message_passes_after_its_head():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        await send({"type": "http.response.pathsend", "path": "/file"})

    offered: dict[str, Any] = {"http.response.pathsend": {}}
    answer = await call(CompressionMiddleware(app), headers=accepting("gzip"), extensions=offered)
    assert [m["type"] for m in answer.messages] == [
        "http.response.start",
        "http.response.pathsend",
    ]
    assert b"content-encoding" not in answer.headers


async def test_other_scopes_pass():
    assert await passed(CompressionMiddleware(foreign), {"type": "websocket"})


async def test_what_is_kept_by_cookies_is_not_compressed_and_its_opting_out_not_sent_on():
    fields = [*JSON, (b"content-encoding", b"none")]
    app = CompressionMiddleware(answers(200, TEXT, fields))
    route = SimpleNamespace(vary=frozenset({b"cookie"}))
    own = ("sec-fetch-site", "same-origin")
    answer = await call(app, headers=[*accepting("gzip"), own], route=route)
    assert answer.body == TEXT
    assert b"content-encoding" not in answer.headers
