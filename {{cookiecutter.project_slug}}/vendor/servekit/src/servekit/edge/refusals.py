"""The edge's own answers: small problem documents for requests the application never sees."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TITLES = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
}


def refusals(headers: Sequence[tuple[bytes, bytes]]) -> dict[int, bytes]:
    """Return the whole answer of each status, up to the date, with these headers on it."""
    return {status: _refusal(status, headers) for status in TITLES}


def _refusal(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = b'{"type":"about:blank","title":"%b","status":%d}' % (TITLES[status].encode(), status)
    own = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    names = {name for name, _ in own}
    lines = own + [(name, value) for name, value in headers if name.lower() not in names]
    head = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
    return head + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + body


def with_headers(answer: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a whole answer with more header fields."""
    status_line, end, rest = answer.partition(b"\r\n")
    return status_line + end + b"".join(b"%b: %b\r\n" % field for field in headers) + rest
