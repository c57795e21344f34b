"""What routing found, for the layers outside of middleware that passed on a scope of its own.

`dict(scope, …)` is usual in ASGI middleware: what the router then leaves in the copy, the log, the
metrics and the deadline would look for in vain.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.scope import PASSAGE_KEY


class Passage:
    """One request's way through the application's own middleware.

    `inner` is the scope that came out of it, where that is not the one that went in.
    """

    __slots__ = ("inner", "outer_id")

    def __init__(self, outer: Scope) -> None:
        self.outer_id = id(outer)
        self.inner: Scope | None = None


class BeforeMiddleware:
    """Stands around the application's own middleware, and begins a passage."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[PASSAGE_KEY] = Passage(scope)
        return self.app(scope, receive, send)


class AfterMiddleware:
    """Stands inside of it, and notes the scope that arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        passage: Passage | None = scope.get(PASSAGE_KEY)
        if passage is None or passage.outer_id == id(scope):
            return self.app(scope, receive, send)
        return self._note(passage, scope, receive, send)

    async def _note(self, passage: Passage, scope: Scope, receive: Receive, send: Send) -> None:
        passage.inner = scope
        try:
            await self.app(scope, receive, send)
        finally:
            # A copy without the passage: the two would hold each other until a collection.
            passage.inner = {name: scope[name] for name in scope if name != PASSAGE_KEY}
