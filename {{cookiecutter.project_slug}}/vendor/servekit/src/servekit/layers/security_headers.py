"""The security headers of every answer, whatever its status."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"object-src 'none'"
)
# Swagger UI and ReDoc load themselves from a content network and run an inline script.
DOCS_CSP = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"connect-src 'self'; font-src https://fonts.gstatic.com; "
    b"img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    b"style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    b"worker-src blob:"
)
Headers = list[tuple[bytes, bytes]]

STARTS = {"http": "http.response.start", "websocket": "websocket.http.response.start"}
"""What begins an answer; a WebSocket is answered only where it is refused."""

HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


def default_security_headers(*, https: bool = False, csp: bytes = CSP) -> Headers:
    """Return the set for an API; with `https`, browsers are told to stay on it for two years."""
    headers = [
        (b"content-security-policy", csp),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]
    return [*headers, HSTS] if https else headers


class SecurityHeadersMiddleware:
    """Add `headers` where a route has not set its own; pages in `docs_paths` may load scripts."""

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
        self.docs_paths = frozenset(docs_paths)
        self.docs_headers = [
            (name, DOCS_CSP if name == b"content-security-policy" else value)
            for name, value in self.headers
        ]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] not in STARTS:
            return self.app(scope, receive, send)
        start = STARTS[scope["type"]]

        def send_secured(message: Message) -> Awaitable[None]:
            if message["type"] == start:
                own = self.docs_headers if scope["path"] in self.docs_paths else self.headers
                message["headers"] = self.merged(list(message.get("headers", ())), own)
            return send(message)

        return self.app(scope, receive, send_secured)

    def merged(self, given: Headers, own: Headers) -> Headers:
        """Return both lists; what was given wins."""
        for name, _ in given:
            if name in self.names:
                names = {name for name, _ in given}
                return given + [field for field in own if field[0] not in names]
        return given + own
