"""`/livez` and `/readyz`, answered before anything else can refuse or delay them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.draining import Draining
from servekit.routing.routes import Routes

PATHS = frozenset({"/livez", "/readyz"})
METHODS = frozenset({"GET", "HEAD"})


class ProbesMiddleware:
    """Answer the two probes; everything else goes on.

    `/livez` says that the event loop runs. `/readyz` is 503 before warm-up is done, while
    draining, and while `check` returns False. `headers` go on every answer. Where the application
    has a route of exactly that path, it answers instead, except for a `/readyz` that is not ready.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        draining: Draining,
        check: Callable[[], bool] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        routes: Callable[[], Routes] = lambda: Routes(()),
    ) -> None:
        self.app = app
        self.draining = draining
        self.check = check
        self.headers = list(headers)
        self.routes = routes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["path"] not in PATHS:
            return self.app(scope, receive, send)
        ready = scope["path"] == "/livez" or self.is_ready()
        if ready and any(entry.path == scope["path"] for entry in self.routes().at(scope["path"])):
            return self.app(scope, receive, send)
        if scope["method"] not in METHODS:
            return self.answer(send, 405, b"", (b"allow", b"GET, HEAD"))
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
