"""No request body larger than the limit, whether its length is announced or not: 413."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.layers.http_headers import header_value
from servekit.problems import about, send_problem
from servekit.refusal_log import RefusalLog
from servekit.routing.routes import Routes

BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
ANNOUNCING = frozenset({b"content-length", b"transfer-encoding"})


class BodyTooLarge(HTTPException):
    """What is raised where a body is read beyond the limit; a handler may answer it."""


class BodyLimitMiddleware:
    """Refuse bodies above `limit_bytes`.

    A route, a mount or a mounted application with `max_body_size=` keeps its own limit.

    FastAPI's own application-wide limit wraps every request in three layers, 12 us of a small
    one's 90; this one costs a request without a body nothing.
    """

    def __init__(self, app: ASGIApp, *, limit_bytes: int, routes: Callable[[], Routes]) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.routes = routes
        self.detail = f"The body is larger than {limit_bytes} bytes."
        self.log = RefusalLog()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or self.passes(scope):
            return self.app(scope, receive, send)
        return self.count(scope, receive, send)

    async def count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what announces too much, and what turns out to be too much."""
        if (size := announced(scope)) > self.limit_bytes:
            self.say(scope, size)
            closing = [(b"connection", b"close")]
            await send_problem(send, 413, detail=self.detail, headers=closing, **about(scope))
            return
        size = 0
        begun = False

        def send_noted(message: Message) -> Awaitable[None]:
            nonlocal begun
            begun = True
            return send(message)

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.limit_bytes:
                self.say(scope, size)
                raise BodyTooLarge(413, self.detail, headers={"connection": "close"})
            return message

        try:
            await self.app(scope, receive_limited, send_noted)
        except Exception as error:
            # Own middleware reads bodies where nobody handles what is raised there.
            if begun or not is_too_large(error):
                raise
            closing = [(b"connection", b"close")]
            await send_problem(send, 413, detail=self.detail, headers=closing, **about(scope))

    def say(self, scope: Scope, size: int) -> None:
        """Name the setting in the log; the size is what was announced, or had come."""
        self.log.say(
            "the body is too large",
            status=413,
            setting="LIMIT_BODY_BYTES",
            limit=self.limit_bytes,
            size=size,
            path=scope["path"],
        )

    def passes(self, scope: Scope) -> bool:
        """Return whether a request has no body, or goes to a route with a limit of its own."""
        if scope["method"] in BODILESS and not has_body(scope):
            return True
        return any(entry.limits_bodies for entry in self.routes().way(scope))


def is_too_large(error: BaseException) -> bool:
    """Return whether an error is nothing but ours, in a group or by itself."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_too_large, error.exceptions))
    return isinstance(error, BodyTooLarge)


def has_body(scope: Scope) -> bool:
    """Return whether the header fields announce a body."""
    for name, _ in scope["headers"]:  # noqa: SIM110 - a generator costs as much as five fields
        if name in ANNOUNCING:
            return True
    return False


def announced(scope: Scope) -> int:
    """Return Content-Length; 0 without one, and where a server let pass what is no number."""
    length = header_value(scope["headers"], b"content-length") or b""
    return int(length) if length.isdigit() else 0
