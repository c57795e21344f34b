"""How a stored response is sent: what it says of itself, and 304 when the client has it."""

from __future__ import annotations

import time

from starlette.types import Message, Send

from servekit.response_cache.exchange import Exchange
from servekit.response_cache.rfc9111 import not_modified
from servekit.response_cache.stored import StoredResponse
from servekit.scope import WholeStart

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


def cache_status(stored: StoredResponse, exchange: Exchange) -> bytes:
    """Return the Cache-Status of an answer (RFC 9211)."""
    if exchange.ran:
        return b"fwd=uri-miss; stored"
    if exchange.is_new(stored):
        return b"fwd=uri-miss; collapsed"
    return hit_status(stored, exchange.age(stored))


def hit_status(stored: StoredResponse, age: float) -> bytes:
    """Return the Cache-Status of an answer from the cache."""
    ttl = stored.lifetimes.fresh - age
    return b"hit; ttl=%d" % ttl if ttl > 0 else b"hit; ttl=%d; detail=stale" % ttl


async def answer(send: Send, stored: StoredResponse, exchange: Exchange, status: bytes) -> None:
    """Send a response as the answer of an exchange."""
    age: float | None = exchange.age(stored)
    if exchange.ran:
        # As old as it was when the route had it; most were made by it just now.
        age = time.time() - stored.created_at
        age = age if age >= 1 else None
    method, fields = exchange.scope["method"], exchange.fields
    await respond(send, stored, method=method, fields=fields, status=status, age=age)


async def respond(  # noqa: PLR0913 - what an answer is made of
    send: Send,
    stored: StoredResponse,
    *,
    method: str,
    fields: dict[bytes, bytes],
    status: bytes,
    age: float | None,
) -> None:
    """Send a whole response, or 304 when the client has it; `age` in seconds, if it is told."""
    own = [(b"cache-status", b"service; " + status)]
    if age is not None:
        own.append((b"age", b"%d" % age))
    code, headers, body = stored.status, stored.headers, stored.body
    if (
        not CONDITIONS.isdisjoint(fields)
        and code == 200  # noqa: PLR2004 - conditions are on a representation
        and not_modified(
            etag=stored.etag,
            last_modified=stored.last_modified,
            if_none_match=fields.get(b"if-none-match", b""),
            if_modified_since=fields.get(b"if-modified-since", b""),
        )
    ):
        code, headers, body = 304, stored.validators, b""
    elif method == "HEAD":
        body = b""
    await send(WholeStart(type="http.response.start", status=code, headers=headers + own))
    await send({"type": "http.response.body", "body": body})


def with_cache_status(send: Send, status: bytes) -> Send:
    """Return a send that says in Cache-Status why the cache had no part in an answer."""

    async def send_with_status(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"cache-status", b"service; " + status)]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_status
