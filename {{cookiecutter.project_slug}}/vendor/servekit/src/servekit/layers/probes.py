"""`/livez` and `/readyz`, answered before anything else can refuse or delay them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.draining import Draining

PATHS = frozenset({"/livez", "/readyz"})
METHODS = frozenset({"GET", "HEAD"})


class ProbesMiddleware:
    """Answer the two probes; everything else goes on.

    `/livez` says that the event loop runs. `/readyz` is 503 before warm-up is done, while
    draining, and while `check` returns False. `headers` go on every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        draining: Draining,
        check: Callable[[], bool] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.app = app
        self.draining = draining
        self.check = check
        self.headers = list(headers)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["path"] not in PATHS:
            return self.app(scope, receive, send)
        if scope["method"] not in METHODS:
            return self.answer(send, 405, b"", (b"allow", b"GET, HEAD"))
        ready = scope["path"] == "/livez" or self.is_ready()
        body = b"ok" if ready else b"not ready"
        return self.answer(send, 200 if ready else 503, body if scope["method"] == "GET" else b"")

    def is_ready(self) -> bool:
        """Return whether this worker wants traffic; a fault shared by all workers is no reason."""
        return (
            self.draining.ready
            and not self.draining.active
            and (self.check is None or self.check())
        )

    async def answer(
        self, send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]
    ) -> None:
        """Send a few bytes of text."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *self.headers,
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
