"""Compressed answers for clients that take them: zstd, br or gzip, by starlette-compress."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type

from service.middleware.http_headers import header_value

MORE_TYPES = ("application/problem+json", "text/csv")
"""What shrinks beside the types that the library knows."""

STREAMED = ("application/jsonl", "application/x-ndjson")
"""Streams of messages beside text/event-stream: each message leaves at once."""


class CompressionMiddleware:
    """Compress bodies of at least `minimum_bytes`; a strong ETag becomes weak with it.

    A route that mixes secrets with what the client sent opts out (BREACH) by the header
    `Content-Encoding: none`, which is not sent on. The levels are fast ones: 1 MB of JSON holds
    the event loop for milliseconds.
    """

    def __init__(self, app: ASGIApp, *, minimum_bytes: int = 1000) -> None:
        for kind in MORE_TYPES:
            add_compress_type(kind)
        for kind in STREAMED:
            add_compress_type(kind, streaming=True)
        self.app = CompressMiddleware(
            app, minimum_size=minimum_bytes, zstd_level=1, brotli_quality=1, gzip_level=1
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_encoded(message: Message) -> None:
            if message["type"] == "http.response.start":
                coding = header_value(message["headers"], b"content-encoding")
                if coding:
                    message["headers"] = [
                        weakened(field)
                        for field in message["headers"]
                        if field != (b"content-encoding", b"none")
                    ]
            await send(message)

        await self.app(scope, receive, send_encoded)


def weakened(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header field with its ETag weak: the bytes are no longer the ones it named."""
    name, value = field
    return (name, b"W/" + value) if name == b"etag" and value.startswith(b'"') else field
