"""The security headers of every answer, whatever its status."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.foreign.docs_pages import is_docs_page
from servekit.routing.routes import route_path

CSP = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"object-src 'none'"
)
# Swagger UI and ReDoc load themselves from a content network, FastAPI's or the one that its text on
# pages of one's own names, or from here where an application hosts them itself; and run an inline
# script.
DOCS_CSP = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"connect-src 'self'; font-src 'self' data: https://fonts.gstatic.com; "
    b"img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    b"script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://unpkg.com; "
    b"style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://unpkg.com "
    b"https://fonts.googleapis.com; "
    b"worker-src 'self' blob:"
)
# A page may load what its own site serves: without it none of its styles and scripts would work.
PAGE_CSP = (
    b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    b"img-src 'self' data:; object-src 'none'"
)
POLICY = b"content-security-policy"
Headers = list[tuple[bytes, bytes]]

STARTS = {"http": "http.response.start", "websocket": "websocket.http.response.start"}
"""What begins an answer; a WebSocket is answered only where it is refused."""

REMEMBERED = 256


def default_security_headers(
    *, hsts_seconds: int = 0, hsts_subdomains: bool = False, csp: bytes = CSP
) -> Headers:
    """Return the set for an API; browsers stay with HTTPS for as long as it says, 0 for nothing."""
    headers = [
        (b"content-security-policy", csp),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]
    if hsts_seconds:
        below = b"; includeSubDomains" if hsts_subdomains else b""
        headers.append((b"strict-transport-security", b"max-age=%d%b" % (hsts_seconds, below)))
    return headers


class SecurityHeadersMiddleware:
    """Add `headers` where a route has not set its own, whatever the case of its names.

    HTML pages may load what their own site serves; FastAPI's documentation, mounted applications'
    too, and pages at `docs_paths` may load what that needs.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        docs_paths: Iterable[str] = (),
    ) -> None:
        self.app = app
        self.headers = list(headers)
        self.names = frozenset(name for name, _ in self.headers)
        self.others: set[bytes] = set()
        """Names of fields that mean nothing to us, as they were written; up to a bound."""
        self.docs_paths = frozenset(docs_paths)
        self.docs_headers = self.with_policy(DOCS_CSP)
        self.page_headers = self.with_policy(PAGE_CSP)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] not in STARTS:
            return self.app(scope, receive, send)
        start = STARTS[scope["type"]]

        def send_secured(message: Message) -> Awaitable[None]:
            if message["type"] == start:
                headers = self.merged(list(message.get("headers", ())), scope)
                message = {**message, "headers": headers}
            return send(message)

        return self.app(scope, receive, send_secured)

    def is_docs(self, scope: Scope) -> bool:
        """Return whether what answered is documentation: a mount has changed `root_path`."""
        if is_docs_page(scope.get("endpoint")):
            return True
        root_path = scope.get("app_root_path", scope.get("root_path", ""))
        return route_path({"path": scope["path"], "root_path": root_path}) in self.docs_paths

    def with_policy(self, policy: bytes) -> Headers:
        """Return the headers with another policy, where they have one of the library's."""
        return [
            (name, policy if (name, value) == (POLICY, CSP) else value)
            for name, value in self.headers
        ]

    def merged(self, given: Headers, scope: Scope) -> Headers:
        """Return both lists; what was given wins."""
        own = self.headers
        taken, others = False, self.others
        for name, value in given:
            if name in others:
                continue
            lower = name.lower()
            if lower in self.names:
                taken = True
            elif lower == b"content-type":
                if value[:9].lower() == b"text/html":
                    own = self.docs_headers if self.is_docs(scope) else self.page_headers
            elif len(others) < REMEMBERED:
                others.add(name)
        if taken:
            names = {name.lower() for name, _ in given}
            own = [field for field in own if field[0] not in names]
        return given + own
