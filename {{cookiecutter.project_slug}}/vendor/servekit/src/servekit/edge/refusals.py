"""The edge's own answers: small problem documents for requests the application never sees."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TITLES = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}
SAMPLE_SECONDS = 10.0

log = structlog.get_logger()


class Refusals:
    """The answers of the edge by status; each is counted, and now and then one is logged."""

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._answers = {status: _refusal(status, headers) for status in TITLES}
        self._count = count
        self._unlogged = dict.fromkeys(TITLES, 0)
        self._logged_at = dict.fromkeys(TITLES, -SAMPLE_SECONDS)

    def answer(self, status: int) -> bytes:
        """Return a whole answer, up to the date; the caller gives it."""
        self._count(status)
        now = time.monotonic()
        if now - self._logged_at[status] < SAMPLE_SECONDS:
            self._unlogged[status] += 1
        else:
            log.warning("request_refused", status=status, others=self._unlogged[status])
            self._logged_at[status], self._unlogged[status] = now, 0
        return self._answers[status]


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
