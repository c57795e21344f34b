"""Compressed answers for clients that take them: zstd, br or gzip, by starlette-compress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type

from servekit.layers.breach import is_kept_by_cookies, length_tells
from servekit.layers.http_headers import Headers, header_value, replace_header

MORE_TYPES = ("application/problem+json", "text/csv", "application/jsonl", "application/x-ndjson")
"""What shrinks beside the types that the library knows."""

LIVE = b"text/event-stream"
"""The type for which the library sends the head at once, and each piece when it comes."""

CONTROL, NO_TRANSFORM = b"cache-control", b"no-transform"
NO_CODINGS = frozenset({b"none", b"identity"})
CODING = b"content-encoding"
DIGESTS = frozenset({b"content-digest", b"repr-digest", b"digest", b"content-md5"})
"""What is said of the very bytes that are sent (RFC 9530)."""


class CompressionMiddleware:
    """Compress bodies of at least `minimum_bytes`; a strong ETag becomes weak with it.

    What is sent in pieces reaches the client in pieces, of whatever type it is: each is flushed.
    What depends on cookies is sent as it is unless the browser says that no other site asked for it
    (BREACH); any other route opts out by `Content-Encoding: none` or `identity`, which is not sent
    on. The levels are fast ones: 1 MB of JSON holds the event loop for milliseconds.
    """

    def __init__(self, app: ASGIApp, *, minimum_bytes: int = 1000) -> None:
        for kind in MORE_TYPES:
            add_compress_type(kind)
        self.app = app
        self.minimum_bytes = minimum_bytes
        self.library = CompressMiddleware(
            hand_over, minimum_size=minimum_bytes, zstd_level=1, brotli_quality=1, gzip_level=1
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = is_kept_by_cookies(scope)  # now: a route puts itself in the place of the cache's
        encode: Send | None = None
        large: LargeAnswer | None = None

        def send_encoded(message: Message) -> Awaitable[None]:
            nonlocal encode, large
            if encode is not None:
                return encode(message)
            if message["type"] == "http.response.start":
                message, passes = self.judged(message)
                if not (passes or told or length_tells(scope, message)):
                    large = LargeAnswer(self.library, scope, send)
                    encode = large.go_on
                    return large.begin(message)
            return send(message)

        try:
            await self.app(scope, receive, send_encoded)
        finally:
            if large is not None:
                large.give_up()

    def judged(self, start: Message) -> tuple[Message, bool]:
        """Return a head, and whether it passes: what is small, opted out or forbids it.

        The word by which it opted out is taken from the headers: it is no coding of HTTP's. Vary
        becomes one field: middleware of the application's own adds to it without looking.
        """
        small = opted_out = fixed = False
        vary = 0
        for name, value in start.get("headers", ()):
            lowered = name.lower()
            if lowered == b"content-length":
                small = value.isdigit() and int(value) < self.minimum_bytes
            elif lowered == b"vary":
                vary += 1 + value.count(b",")
            elif lowered == CODING and value.strip().lower() in NO_CODINGS:
                opted_out = True
            elif lowered in DIGESTS or (lowered == CONTROL and NO_TRANSFORM in value.lower()):
                fixed = True
        if vary > 1:
            start = {**start, "headers": vary_once(start["headers"])}
        if opted_out:
            left = [field for field in start["headers"] if field[0].lower() != CODING]
            start = {**start, "headers": left}
        return start, small or opted_out or fixed


class LargeAnswer:
    """An answer that may be compressed: as one piece with a length, or piece by piece.

    Which of both shows at the first piece. It is not waited for longer than a turn of the loop, and
    not at all where no length is announced, for then the head would wait too.
    """

    def __init__(self, library: ASGIApp, scope: Scope, send: Send) -> None:
        self._library = library
        self._scope = scope
        self._send = send
        self._undecided = False
        self._late: asyncio.Task[None] | None = None

    async def begin(self, start: Message) -> None:
        """Take the head; the library sends it if it has nothing to do with it."""
        self._start = start = {**start, "headers": list(start.get("headers", ()))}
        self._passed = False
        self._encode = await self._encoder(self._send_whole)
        await self._encode({**start, "headers": list(start["headers"])})
        if self._passed:
            return
        if not any(name.lower() == b"content-length" for name, _ in start["headers"]):
            await self._stream()
        else:
            self._undecided = True
            self._timer = asyncio.get_running_loop().call_soon(self._waited_long_enough)

    async def go_on(self, message: Message) -> None:
        """Take what follows the head."""
        if self._late is not None:
            await self._late
        if self._undecided:
            self._undecided = False
            self._timer.cancel()
            if message.get("more_body", False):
                await self._stream()
        await self._encode({**message})  # the library writes into what it takes
        if not message.get("more_body", False):
            self._encode = self._send  # the library's would hold this for ever, and this it

    def give_up(self) -> None:
        """Send no head that waits: the application has ended, and another answers for it."""
        if self._undecided:
            self._undecided = False
            self._timer.cancel()
        elif self._late is not None:
            self._late.cancel()

    def _waited_long_enough(self) -> None:
        self._undecided = False
        self._late = asyncio.get_running_loop().create_task(self._stream())

    async def _stream(self) -> None:
        """Have the library take the answer for one whose pieces are waited for."""
        self._encode = await self._encoder(self._send_live)
        headers = replace_header(self._start["headers"], b"content-type", LIVE)
        await self._encode({**self._start, "headers": headers})

    async def _encoder(self, send: Send) -> Send:
        """Return the library's `send` for this request, which a stand-in application hands over.

        So it is asked for large answers only; for a small one it would be a tenth of the cost.
        """
        handed_over: list[Send] = []
        await self._library({**self._scope, HANDED_OVER: handed_over}, no_more, send)
        return handed_over[0]

    async def _send_whole(self, message: Message) -> None:
        self._passed = True
        await self._send_weakened(message)

    async def _send_live(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kinds = [
                field for field in self._start["headers"] if field[0].lower() == b"content-type"
            ]
            others = [field for field in message["headers"] if field[0].lower() != b"content-type"]
            message = {**message, "headers": others + kinds}
        await self._send_weakened(message)

    async def _send_weakened(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": as_encoded(vary_once(message["headers"]))}
        await self._send(message)


HANDED_OVER = "compression.send"


async def hand_over(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stand in for the application that the library wraps: only its `send` is wanted."""
    scope[HANDED_OVER].append(send)


async def no_more() -> Message:
    """Stand in for the request, which the library does not read."""
    return {"type": "http.disconnect"}


def vary_once(headers: Headers) -> Headers:
    """Return headers whose Vary names each field once: the library adds to what a route has."""
    vary = header_value(headers, b"vary")
    fields = {name.strip().lower(): name.strip() for name in vary.split(b",")}
    return replace_header(headers, b"vary", b", ".join(fields.values())) if vary else headers


def as_encoded(headers: Headers) -> Headers:
    """Return headers fit for what is sent: the ETag of an encoded body is weak."""
    if not any(name == CODING for name, _ in headers):
        return headers
    return [
        (name, b"W/" + value)
        if name.lower() == b"etag" and value.startswith(b'"')
        else (name, value)
        for name, value in headers
    ]
