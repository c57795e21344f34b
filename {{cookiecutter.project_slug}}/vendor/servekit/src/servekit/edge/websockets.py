"""A WebSocket's connection: uvicorn's protocol, whose refusals look like all our answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servekit.scope import IN_WORKER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

SWITCHING = 101


def make_websocket(
    make: Callable[..., Any], headers: Sequence[tuple[bytes, bytes]], **arguments: Any
) -> Any:
    """Return a connection that `make` makes, with `headers` on each answer that refuses it.

    Applications, layers, uvicorn and the WebSocket library refuse; here all of them pass.
    """
    protocol = make(**arguments)
    protocol.app = entering(protocol.app)
    connection = getattr(protocol, "conn", None)
    send_response = getattr(connection, "send_response", None)
    if send_response is None:
        return protocol  # another library than `websockets`: its refusals are its own
    fields = [(name.decode(), value.decode("latin-1")) for name, value in headers]

    def send_with_headers(response: Any) -> None:
        if response.status_code != SWITCHING:
            for name, value in fields:
                response.headers.setdefault(name, value)
        send_response(response)

    connection.send_response = send_with_headers  # type: ignore[union-attr] # it has one
    return protocol


def entering(app: ASGIApp) -> ASGIApp:
    """Return an application that is told that a worker of ours serves it."""

    def enter(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[IN_WORKER] = True
        return app(scope, receive, send)

    return enter
