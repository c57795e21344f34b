"""The edge's own answers: small problem documents for requests the application never sees."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from servekit.edge.limits import ConnectionLimits
from servekit.refusal_log import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Refusal(NamedTuple):
    """Why a connection refuses a request, for the metric and in words.

    `field` is the limit that `setting` sets.
    """

    status: int
    reason: str
    cause: str
    setting: str = ""
    field: str = ""
    unit: str = ""


MALFORMED = Refusal(400, "malformed", "the request is malformed")
BAD_HOST = Refusal(400, "host", "Host is missing, repeated or malformed")
BAD_VERSION = Refusal(400, "version", "the request is not HTTP/1.1, nor well-formed HTTP/1.0")
TOO_MANY_AHEAD = Refusal(400, "pipeline", "too many requests were sent ahead of their answers")
BAD_HANDSHAKE = Refusal(
    400,
    "handshake",
    "a WebSocket handshake has no body, and is not sent ahead of another request's answer",
)
SLOW_HEAD = Refusal(
    408,
    "slow_head",
    "the head did not come in time",
    "TIMEOUT_HEADER_SECONDS",
    "header_seconds",
    "seconds",
)
SLOW_BODY = Refusal(
    408, "slow_body", "the body stopped coming", "TIMEOUT_BODY_SECONDS", "body_seconds", "seconds"
)
CROWDED_OUT = Refusal(
    408,
    "crowded_out",
    "others waited for its connection",
    "LIMIT_CONNECTIONS",
    "connections",
    "connections",
)
LONG_TARGET = Refusal(
    414, "long_target", "the target is too long", "LIMIT_URI_BYTES", "uri_bytes", "bytes"
)
LARGE_HEAD = Refusal(
    431, "large_head", "the head is too large", "LIMIT_HEADER_BYTES", "header_bytes", "bytes"
)
MANY_FIELDS = Refusal(
    431, "many_fields", "too many fields", "LIMIT_HEADER_COUNT", "header_count", "fields"
)
FAULT = Refusal(500, "fault", "reading the request failed: a fault of ours")

REFUSALS = (
    *(MALFORMED, BAD_HOST, BAD_VERSION, TOO_MANY_AHEAD, BAD_HANDSHAKE, SLOW_HEAD),
    *(SLOW_BODY, CROWDED_OUT, LONG_TARGET, LARGE_HEAD, MANY_FIELDS, FAULT),
)


class Refusals:
    """The answers of the edge; each is counted, and now and then one is logged."""

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        count: Callable[[int, str], None] = lambda *_: None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        limits = limits or ConnectionLimits()
        self._limits = {each: getattr(limits, each.field, None) for each in REFUSALS}
        self._answers = {each: _answer(each, self._limits[each], headers) for each in REFUSALS}
        self._count = count
        self._log = RefusalLog()

    def answer(self, refusal: Refusal, size: int | None = None) -> bytes:
        """Return a whole answer, up to the date; the caller gives it. `size` is what came."""
        self._count(refusal.status, refusal.reason)
        found = {"setting": refusal.setting, "limit": self._limits[refusal], "size": size}
        fields: dict[str, Any] = {name: each for name, each in found.items() if each}
        self._log.say(refusal.cause, status=refusal.status, **fields)
        return self._answers[refusal]


def _answer(refusal: Refusal, limit: float | None, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    status, phrase = refusal.status, HTTPStatus(refusal.status).phrase
    detail = refusal.cause[:1].upper() + refusal.cause[1:] + "."
    if limit is not None:
        detail = f"{detail[:-1]}: the limit is {limit} {refusal.unit}."
    if refusal in (CROWDED_OUT, FAULT):  # whose causes are our own affair
        detail = phrase
    members = {"type": "about:blank", "title": phrase, "status": status, "detail": detail}
    body = json.dumps(members, separators=(",", ":")).encode()
    own = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    names = {name for name, _ in own}
    lines = own + [(name, value) for name, value in headers if name.lower() not in names]
    head = b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())
    return head + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + body


def with_headers(answer: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a whole answer with more header fields."""
    status_line, end, rest = answer.partition(b"\r\n")
    return status_line + end + b"".join(b"%b: %b\r\n" % field for field in headers) + rest
