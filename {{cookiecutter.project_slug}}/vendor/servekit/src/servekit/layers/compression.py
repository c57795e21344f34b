"""Compressed answers for clients that take them: zstd, br or gzip, by starlette-compress."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type

from servekit.layers.breach import length_tells

MORE_TYPES = ("application/problem+json", "text/csv")
"""What shrinks beside the types that the library knows."""

STREAMED = ("application/jsonl", "application/x-ndjson")
"""Streams of messages beside text/event-stream: each message leaves at once."""


class CompressionMiddleware:
    """Compress bodies of at least `minimum_bytes`; a strong ETag becomes weak with it.

    What depends on cookies is sent as it is unless the browser says that no other site asked for it
    (BREACH); any other route opts out by `Content-Encoding: none`, which is not sent on. The levels
    are fast ones: 1 MB of JSON holds the event loop for milliseconds.
    """

    def __init__(self, app: ASGIApp, *, minimum_bytes: int = 1000) -> None:
        for kind in MORE_TYPES:
            add_compress_type(kind)
        for kind in STREAMED:
            add_compress_type(kind, streaming=True)
        self.app = app
        self.minimum_bytes = minimum_bytes
        self.library = CompressMiddleware(
            hand_over, minimum_size=minimum_bytes, zstd_level=1, brotli_quality=1, gzip_level=1
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        encode: Send | None = None

        def send_encoded(message: Message) -> Awaitable[None]:
            if encode is not None:
                return encode(message)
            if message["type"] == "http.response.start" and not self.is_small(message):
                return send(message) if length_tells(scope, message) else begin(message)
            return send(message)

        async def begin(message: Message) -> None:
            nonlocal encode
            encode = await self.encoder(scope, send)
            await encode(message)

        return self.app(scope, receive, send_encoded)

    def is_small(self, start: Message) -> bool:
        """Return whether the announced length is below the minimum: the library is not asked."""
        return any(
            name == b"content-length" and int(value) < self.minimum_bytes
            for name, value in start["headers"]
        )

    async def encoder(self, scope: Scope, send: Send) -> Send:
        """Return the library's `send` for this request, which a stand-in application hands over.

        So it is asked for large answers only; for a small one it would be a tenth of the cost.
        """

        async def send_weakened(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = as_encoded(message["headers"])
            await send(message)

        handed_over: list[Send] = []
        await self.library({**scope, HANDED_OVER: handed_over}, no_more, send_weakened)
        return handed_over[0]


HANDED_OVER = "compression.send"


async def hand_over(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stand in for the application that the library wraps: only its `send` is wanted."""
    scope[HANDED_OVER].append(send)


async def no_more() -> Message:
    """Stand in for the request, which the library does not read."""
    return {"type": "http.disconnect"}


def as_encoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers fit for what is sent: an encoded body's ETag is weak, `none` is no coding."""
    if not any(name == b"content-encoding" for name, _ in headers):
        return headers
    return [
        (name, b"W/" + value) if name == b"etag" and value.startswith(b'"') else (name, value)
        for name, value in headers
        if (name, value) != (b"content-encoding", b"none")
    ]
