"""CORS: pages of the allowed origins may read every answer, whichever layer gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.datastructures import Headers as RequestHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.layers.http_headers import Headers, add_vary

ALLOW_ORIGIN = b"access-control-allow-origin"
CREDENTIALS = (b"access-control-allow-credentials", b"true")
ANY, OPAQUE = b"*", b"null"
ANYBODYS = frozenset({ANY, OPAQUE})
"""What pages of every site are covered by: a frame in a sandbox has the origin `null`."""


class AllowedOrigins:
    """The origins of CORS_ORIGINS: those named with cookies, `*` and `null` without any.

    An origin's case does not matter.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        given = frozenset(origin.lower().encode("latin-1") for origin in origins)
        self.named, self.open = given - ANYBODYS, given & ANYBODYS

    def covers(self, origin: bytes) -> bool:
        """Return whether an origin, in small letters, is let in without cookies at least."""
        return bool(origin) and (ANY in self.open or origin in self.open or origin in self.named)

    def fields(self, request: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return what an answer to a request with these fields carries; none to other origins."""
        for name, value in request:
            if name == b"origin":
                origin = value.lower()
                if origin in self.named:
                    return [(ALLOW_ORIGIN, value), CREDENTIALS]
                if not self.covers(origin):
                    return []
                return [(ALLOW_ORIGIN, OPAQUE if origin in self.open else ANY)]
        return []


class CorsMiddleware:
    """Let pages of the allowed origins read each answer; an answer that allows one itself stands.

    For the outermost place, so that what other layers refuse can be read too. Each answer says
    that it depends on the origin, for the caches of others.
    """

    def __init__(self, app: ASGIApp, *, origins: AllowedOrigins) -> None:
        self.app = app
        self.origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)

        def send_shared(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                if not any(name.lower() == ALLOW_ORIGIN for name, _ in given):
                    given += self.origins.fields(scope["headers"])
                message = {**message, "headers": add_vary(given, b"Origin")}
            return send(message)

        return self.app(scope, receive, send_shared)


class PreflightMiddleware:
    """Answer a browser's question whether it may send a request; all methods and fields it may."""

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = AllowedOrigins(origins)
        self.named, self.open = (
            CORSMiddleware(
                app,
                allow_origins=[origin.decode("latin-1") for origin in covered],
                allow_credentials=covered is self.origins.named,
                allow_methods=["*"],
                allow_headers=["*"],
            )
            for covered in (self.origins.named, self.origins.open)
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            return self.app(scope, receive, send)
        headers = RequestHeaders(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            return self.app(scope, receive, send)
        is_named = headers["origin"].lower().encode("latin-1") in self.origins.named
        cors = self.named if is_named else self.open
        return cors.preflight_response(headers)(scope, receive, send)
