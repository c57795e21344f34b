"""Refuses writes that another site's page makes a browser send (CSRF)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.problems import about, send_problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ASKED = frozenset({b"origin", b"sec-fetch-site", b"host"})
OWN_SITE = frozenset({b"same-origin", b"none"})

log = structlog.get_logger()


class CrossSiteMiddleware:
    """Answers 403 to unsafe methods and WebSocket handshakes that come from elsewhere.

    Browsers say so in Sec-Fetch-Site, older ones in Origin; what sends neither is no browser, and
    carries no cookie that it was not given. `allowed_origins` are exact, `https://app.example.com`;
    `allow_same_site` trusts sibling domains. `admit` is asked with scope and origin before a
    request is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_origins: Iterable[str] = (),
        allow_same_site: bool = False,
        admit: Callable[[Scope, str], bool] | None = None,
    ) -> None:
        self._app = app
        self._admit = admit
        self._origins = frozenset(origin.lower().encode() for origin in allowed_origins)
        self._sites = OWN_SITE | ({b"same-site"} if allow_same_site else set())

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or self._passes(scope):
            return self._app(scope, receive, send)
        return self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        log.warning("cross_site_request_refused", path=scope["path"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        detail = "A page of another site may not send this request."
        await send_problem(send, 403, detail=detail, **about(scope))

    def _passes(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return True
        headers = {name: value for name, value in scope["headers"] if name in ASKED}
        origin = headers.get(b"origin", b"").lower()
        if origin in self._origins:
            return True
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            is_own = site in self._sites
        else:
            # The scheme is left out: behind a proxy that ends TLS it is not the browser's.
            host = headers.get(b"host", b"").lower()
            is_own = not origin or origin.partition(b"://")[2] == host
        return is_own or self._is_admitted(scope, headers.get(b"origin", b""))

    def _is_admitted(self, scope: Scope, origin: bytes) -> bool:
        return self._admit is not None and self._admit(scope, origin.decode("latin-1"))
