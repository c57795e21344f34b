"""What a middleware may leave for a route somewhere in a request, and how the route reads it."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

Read = Callable[[Request], Any]
"""Says who asks, as a request tells it: text that holds the user's secret, or nothing."""

USER: ContextVar[str] = ContextVar("user", default="")


class Leaving:
    """A pure ASGI middleware that leaves who asks for the route, somewhere in a request."""

    def __init__(self, app: ASGIApp, *, leave: Callable[[Scope, str], None]) -> None:
        self.app = app
        self.leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = dict(scope)
            self.leave(scope, HTTPConnection(scope).headers.get("x-user", ""))
        await self.app(scope, receive, send)


def leave_header(scope: Scope, user: str) -> None:
    scope["headers"] = [*scope["headers"], (b"x-left", user.encode())]


LEFT: dict[str, tuple[Callable[[Scope, str], None], Read]] = {
    "state": (
        lambda scope, user: scope["state"].update(user=user),
        lambda request: request.state.user,
    ),
    "state, perhaps": (
        lambda scope, user: scope["state"].update(user=user) if user else None,
        lambda request: getattr(request.state, "user", None),
    ),
    "state, all": (
        lambda scope, user: scope["state"].update(user=user),
        lambda request: dict(request.state),
    ),
    "state of the scope": (
        lambda scope, user: scope.update(state={**scope["state"], "user": user}),
        lambda request: request.scope["state"].get("user"),
    ),
    "user": (lambda scope, user: scope.update(user=user), lambda request: request.user),
    "auth": (lambda scope, user: scope.update(auth=user), lambda request: request.auth),
    "key": (lambda scope, user: scope.update(own=user), lambda request: request.scope["own"]),
    "key, perhaps": (
        lambda scope, user: scope.update(own=user) if user else None,
        lambda request: request.get("own"),
    ),
    "key, if there": (
        lambda scope, user: scope.update(own=user) if user else None,
        lambda request: request.scope["own"] if "own" in request.scope else "",  # noqa: SIM401 - a way
    ),
    "key of a copy": (
        lambda scope, user: scope.update(own=user),
        lambda request: dict(request.scope)["own"],
    ),
    "context": (lambda scope, user: USER.set(user) and None, lambda request: USER.get()),
    "context, perhaps": (
        lambda scope, user: USER.set(user) and None if user else None,
        lambda request: USER.get(),
    ),
    "header": (leave_header, lambda request: request.headers["x-left"]),
    "query": (
        lambda scope, user: scope.update(query_string=f"left={user}".encode()),
        lambda request: request.query_params["left"],
    ),
    "root path": (
        lambda scope, user: scope.update(root_path=f"/{user}", path=f"/{user}/"),
        lambda request: str(request.base_url),
    ),
    "root path in the scope": (
        lambda scope, user: scope.update(root_path=f"/{user}", path=f"/{user}/"),
        lambda request: request.scope["root_path"],
    ),
    "client": (
        lambda scope, user: scope.update(client=(user, 1)),
        lambda request: request.client and request.client.host,
    ),
}
"""What a middleware may leave for a route, and how that reads it."""
