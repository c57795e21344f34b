"""Ask clients to reconnect elsewhere while this worker drains."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.draining import Draining

CLOSE = (b"connection", b"close")


class DrainingMiddleware:
    """Add `connection: close` to every answer once draining began."""

    def __init__(self, app: ASGIApp, *, draining: Draining) -> None:
        self.app = app
        self.draining = draining

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or not self.draining.active:
            return self.app(scope, receive, send)

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [field for field in message.get("headers", ()) if field[0] != b"connection"]
                message = {**message, "headers": [*kept, CLOSE]}
            await send(message)

        return self.app(scope, receive, send_closing)
