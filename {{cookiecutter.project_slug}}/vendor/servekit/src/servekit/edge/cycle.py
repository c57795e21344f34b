"""One request and its answer on the wire: uvicorn's cycle, with a head that is written faster."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from servekit.foreign.uvicorn import RequestResponseCycle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
NAMES_LIMIT = 256

Header = tuple[bytes, bytes]

COMMON_HEADERS: list[Header] = [
    (b"content-type", b"application/json"),
    (b"vary", b"Accept-Encoding"),
    (b"cache-control", b"no-store"),
]
"""Fields that many answers have, beside those that a program puts on all of them."""


class HeadWriter:
    """Turn header fields into lines; those in `constant` are checked once, not on every answer."""

    def __init__(self, constant: list[Header]) -> None:
        self._names: dict[bytes, bytes] = {}
        self.lines = {field: self.line(*field) for field in constant}

    def line(self, name: bytes, value: bytes) -> bytes:
        """Return one line; raises RuntimeError for what could end it early."""
        prefix = self._names.get(name) or self._prefix(name)
        if BAD_VALUE.search(value):
            raise RuntimeError(f"Invalid value of the header {name!r}.")
        return prefix + value + b"\r\n"

    def _prefix(self, name: bytes) -> bytes:
        if not FIELD_NAME.fullmatch(name):
            raise RuntimeError(f"Invalid header name {name!r}.")
        prefix = name.lower() + b": "
        if len(self._names) < NAMES_LIMIT:
            self._names[name] = prefix
        return prefix


class FastHeadCycle(RequestResponseCycle):
    """uvicorn's request and answer; only the head of the answer is our own.

    uvicorn searches every name and value for bad characters, on every answer: with the security
    headers on it, that is a tenth of a small answer's cost.
    """

    def __init__(self, writer: HeadWriter, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.writer = writer
        self._unsent_head = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started and message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            head = self._head(message["status"], message.get("headers", ()))
            if self.expected_content_length and self.scope["method"] != "HEAD":
                self._unsent_head = head  # for the body: both leave in one system call
            else:
                self.transport.write(head)
        elif self._unsent_head:
            await self._send_first(message)
        else:
            await super().send(message)

    async def _send_first(self, message: Any) -> None:
        head, self._unsent_head = self._unsent_head, b""
        body = message.get("body", b"")
        whole = len(body) == self.expected_content_length and not message.get("more_body", False)
        if message["type"] != "http.response.body" or not whole:
            self.transport.write(head)
            await super().send(message)
            return
        self.transport.writelines((head, body))
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _head(self, status: int, headers: Any) -> bytes:
        writer = self.writer
        constant = writer.lines.get
        head = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        closing = False
        for field in (*self.default_headers, *headers):
            line = constant(tuple(field))
            if line is None:
                name, value = field
                line = writer.line(name, value)
                if (name := name.lower()) == b"date":
                    # The answer's own goes before the server's, which stands first.
                    if head[1:] and head[1].startswith(b"date:"):
                        head[1] = b""
                elif name in FRAMING:
                    closing = self._frame(name, value) or closing
            head.append(line)
        if not self.keep_alive and not closing:
            head.append(b"connection: close\r\n")
        if (
            self.chunked_encoding is None
            and status not in BODILESS
            and self.scope["method"] != "HEAD"
        ):
            self.chunked_encoding = True
            head.append(b"transfer-encoding: chunked\r\n")
        head.append(b"\r\n")
        return b"".join(head)

    def _frame(self, name: bytes, value: bytes) -> bool:
        """Note how the body will be framed; return whether the answer ends the connection."""
        if name == b"content-length":
            if self.chunked_encoding is None:
                self.expected_content_length = int(value)
                self.chunked_encoding = False
        elif name == b"transfer-encoding":
            self.chunked_encoding = value.lower() == b"chunked" or self.chunked_encoding
        elif b"close" in value.lower():
            self.keep_alive = False
            return True
        return False


FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
BODILESS = frozenset({204, 304})


class ResponseTransport:
    """The transport as uvicorn's cycle sees it: what closing means is the connection's to say."""

    def __init__(self, transport: asyncio.Transport, *, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.writelines = transport.writelines
        self.is_closing = transport.is_closing
        self.close = close
