"""Refuses writes that another site's page makes a browser send (CSRF)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.layers.cors import AllowedOrigins
from servekit.layers.http_headers import header_value
from servekit.problems import about, send_problem
from servekit.refusal_log import RefusalLog

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ASKED = frozenset({b"origin", b"sec-fetch-site", b"host"})
OWN_SITE = frozenset({b"same-origin", b"none"})
FORM_TYPES = frozenset(
    {b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"}
)
BY_ITSELF = frozenset({b"basic", b"digest", b"negotiate", b"ntlm"})
"""Schemes of Authorization that a browser adds where it knows a password, whoever asks."""
ORIGIN_LENGTH = 100
NOT_COVERED = " with cookies, which `*` does not cover: name its origin"


class CrossSiteMiddleware:
    """Answers 403 to unsafe methods and WebSocket handshakes that come from elsewhere.

    Browsers say so in Sec-Fetch-Site, older ones in Origin; what sends neither is no browser, and
    carries no cookie that it was not given. Without cookies those pass that a browser sends only
    after a preflight, which somebody has answered. `allowed_origins` are exact,
    `https://app.example.com`; `*` and `null` are for requests without credentials.
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
        self.app = app
        self._admit = admit
        self._log = RefusalLog()
        self._origins = AllowedOrigins(allowed_origins)
        self._sites = OWN_SITE | ({b"same-site"} if allow_same_site else set())

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or self._passes(scope):
            return self.app(scope, receive, send)
        return self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        origin = header_value(scope["headers"], b"origin").decode("latin-1")[:ORIGIN_LENGTH]
        covered = self._origins.covers(origin.lower().encode("latin-1"))
        self._log.say(
            f"a page of another site sent it{NOT_COVERED if covered else ''}",
            event="cross_site_request_refused",
            status=403,
            setting="CORS_ORIGINS",
            origin=origin,
            path=scope["path"],
        )
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
        if origin in self._origins.named:
            return True
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            is_own = site in self._sites
        else:
            # The scheme is left out: behind a proxy that ends TLS it is not the browser's.
            host = headers.get(b"host", b"").lower()
            is_own = not origin or origin.partition(b"://")[2] == host
        return (
            is_own
            or was_preflighted(scope)
            or (self._origins.covers(origin) and not carries_credentials(scope))
            or self._is_admitted(scope, headers.get(b"origin", b""))
        )

    def _is_admitted(self, scope: Scope, origin: bytes) -> bool:
        return self._admit is not None and self._admit(scope, origin.decode("latin-1"))


def was_preflighted(scope: Scope) -> bool:
    """Return whether a browser had to ask before it sent this, and nothing in it is a cookie.

    No form can send such a request, so it logs nobody in unasked and uses no session.
    """
    if scope["type"] != "http" or carries_credentials(scope):
        return False
    fields = scope["headers"]
    media_type = header_value(fields, b"content-type").partition(b";")[0].strip().lower()
    return (
        bool(scheme_of(scope)) or scope["method"] != "POST" or media_type not in FORM_TYPES | {b""}
    )


def carries_credentials(scope: Scope) -> bool:
    """Return whether a request has what a browser adds by itself: cookies, or a password."""
    return scheme_of(scope) in BY_ITSELF or any(name == b"cookie" for name, _ in scope["headers"])


def scheme_of(scope: Scope) -> bytes:
    """Return the scheme of Authorization, in small letters; empty without one."""
    return header_value(scope["headers"], b"authorization").partition(b" ")[0].lower()
