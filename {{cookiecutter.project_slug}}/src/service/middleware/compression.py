"""Compressed answers for clients that take them; what is small or compressed already passes."""

from __future__ import annotations

from collections.abc import Awaitable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.middleware.encodings import ENCODERS, Encoder, negotiate

COMPRESSIBLE = frozenset(
    {
        b"application/javascript",
        b"application/json",
        b"application/jsonl",
        b"application/wasm",
        b"application/x-ndjson",
        b"application/xml",
        b"image/svg+xml",
    }
)
FLUSHED = frozenset({b"application/jsonl", b"application/x-ndjson", b"text/event-stream"})
"""Streams of messages: each one leaves at once."""

BODILESS = frozenset({204, 205, 206, 304})
THREAD_BYTES = 65_536
"""Larger pieces are encoded in a thread: inline, 1 MB of JSON holds the loop for 3 to 11 ms."""

THREADS = 2


class CompressionMiddleware:
    """Encode bodies of at least `minimum_bytes` with zstd, br or gzip, as the client prefers.

    A strong ETag becomes weak, since the bytes are no longer the ones it named. A route that
    mixes secrets with what the client sent opts out of it (BREACH) by
    `request.state.no_compression = True`.
    """

    def __init__(self, app: ASGIApp, *, minimum_bytes: int = 1000) -> None:
        self.app = app
        self.minimum_bytes = minimum_bytes
        self.threads: anyio.CapacityLimiter | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        started = False
        answer: EncodedAnswer | None = None

        def send_encoded(message: Message) -> Awaitable[None]:
            nonlocal started, answer
            if not started and message["type"] == "http.response.start":
                started = True
                if self.is_worth_it(message) and not opted_out(scope):
                    answer = EncodedAnswer(self, scope, send, message)
                    return answer.start()
            elif answer is not None:
                return answer.proceed(message)
            return send(message)

        return self.app(scope, receive, send_encoded)

    def is_worth_it(self, start: Message) -> bool:
        """Return whether an answer is long enough, of a kind that shrinks, and not yet encoded."""
        kind = b""
        for name, value in start.get("headers", ()):
            if name == b"content-length":
                if int(value) < self.minimum_bytes:
                    return False
            elif name == b"content-type":
                kind = media_type(value)
            elif name in {b"content-encoding", b"content-range"} or (
                name == b"cache-control" and b"no-transform" in value
            ):
                return False
        return start["status"] not in BODILESS and (
            kind in COMPRESSIBLE or kind.startswith(b"text/") or kind.endswith((b"+json", b"+xml"))
        )

    async def encode(self, encoder: Encoder, body: bytes, *, flush: bool, last: bool) -> bytes:
        """Return the encoded bytes of one piece, made in a thread when it is large."""

        def run() -> bytes:
            encoded = encoder.encode(body, flush=flush and not last) if body else b""
            return encoded + encoder.finish() if last else encoded

        if len(body) <= THREAD_BYTES:
            return run()
        if self.threads is None:
            self.threads = anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(run, limiter=self.threads)


class EncodedAnswer:
    """One answer on its way through an encoder, or past it when the client takes none."""

    def __init__(
        self, middleware: CompressionMiddleware, scope: Scope, send: Send, start: Message
    ) -> None:
        coding = negotiate(accepted(scope))
        self.encode = middleware.encode
        self.send = send
        self.coding = coding
        self.encoder = ENCODERS[coding]() if coding else None
        self.head = start
        self.flush = any(
            name == b"content-type" and media_type(value) in FLUSHED
            for name, value in start["headers"]
        )
        self.waiting = not self.flush and self.encoder is not None

    async def start(self) -> None:
        """Send the head now, or keep it until the length of a one-piece body is known."""
        if not self.waiting:
            await self.send_head(None)

    async def send_head(self, length: int | None) -> None:
        """Send the head, changed to fit what will follow; no length means a stream."""
        self.waiting = False
        headers = [field for field in self.head["headers"] if field[0] != b"vary"]
        vary = [value for name, value in self.head["headers"] if name == b"vary"]
        headers.append((b"vary", vary_on_encoding(vary)))
        if self.coding is not None:
            headers = [encoded_field(field) for field in headers if field[0] != b"content-length"]
            headers.append((b"content-encoding", self.coding.encode()))
            if length is not None:
                headers.append((b"content-length", b"%d" % length))
        await self.send({**self.head, "headers": headers})

    async def proceed(self, message: Message) -> None:
        """Send one piece of the body, encoded; anything that is no body passes as it is."""
        encoder = self.encoder
        if encoder is None or message["type"] != "http.response.body":
            if self.waiting:
                self.encoder = self.coding = None
                await self.send_head(None)
            await self.send(message)
            return
        more = message.get("more_body", False)
        body = await self.encode(encoder, message.get("body", b""), flush=self.flush, last=not more)
        if self.waiting:
            await self.send_head(None if more else len(body))
        if body or not more:
            await self.send({**message, "body": body})


def opted_out(scope: Scope) -> bool:
    """Return whether a route wants none, or a HEAD has no body to measure."""
    return scope["method"] == "HEAD" or bool(scope.get("state", {}).get("no_compression"))


def accepted(scope: Scope) -> str:
    """Return the client's Accept-Encoding, its lines joined."""
    values = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    return b",".join(values).decode("latin-1")


def media_type(value: bytes) -> bytes:
    """Return a content type without its parameters."""
    return value.partition(b";")[0].strip().lower()


def encoded_field(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header field as it stands on an encoded answer: its ETag weak."""
    name, value = field
    return (name, b"W/" + value) if name == b"etag" and value.startswith(b'"') else field


def vary_on_encoding(given: list[bytes]) -> bytes:
    """Return Vary with Accept-Encoding in it, once."""
    names = b", ".join(given)
    known = {name.strip().lower() for name in names.split(b",")}
    if known & {b"accept-encoding", b"*"}:
        return names
    return names + b", Accept-Encoding" if names else b"Accept-Encoding"
