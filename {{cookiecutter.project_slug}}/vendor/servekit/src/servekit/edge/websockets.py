"""A WebSocket's connection: uvicorn's protocol, whose refusals look like all our answers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from servekit.edge.addresses import plain
from servekit.scope import IN_WORKER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

SWITCHING = 101
PROTOCOL_ERROR = 1002
CLIENTS_FAULT = "Invalid UTF-8 sequence received from client."


def websocket_protocol(protocol: type[Any]) -> type[Any]:
    """Return a class of uvicorn's WebSocket protocols, with what a client may do to it mended."""
    logging.getLogger("uvicorn.error").addFilter(as_the_clients_fault)

    class WebSocketProtocol(protocol):  # type: ignore[misc] # whichever library there is
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            for name in ("client", "server"):
                setattr(self, name, plain(getattr(self, name)))

        def data_received(self, data: bytes) -> None:
            """Answer a handshake that the library cannot read, which uvicorn leaves open."""
            super().data_received(data)
            unread = getattr(self.conn, "handshake_exc", None) and not self.handshake_initiated
            if unread and not self.transport.is_closing():
                answer = b"".join(self.conn.data_to_send()) or self.conn.malformed()
                self.transport.write(answer)
                self.transport.close()

        def handle_parser_exception(self) -> None:
            """Close; before the handshake there is no frame to say why, which uvicorn asserts."""
            if self.conn.close_sent is not None:
                super().handle_parser_exception()
                return
            self.queue.put_nowait({"type": "websocket.disconnect", "code": PROTOCOL_ERROR})
            self.close_sent = True
            self.transport.close()

    return WebSocketProtocol


def as_the_clients_fault(record: logging.LogRecord) -> bool:
    """Let a record pass; what a client may send is no error of ours, and has no trace."""
    if record.msg == CLIENTS_FAULT:
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = record.exc_text = None
    return True


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

    def malformed() -> bytes:
        response = connection.reject(400, "The handshake is malformed.\n")  # type: ignore[union-attr]
        for name, value in fields:
            response.headers.setdefault(name, value)
        return bytes(response.serialize())

    connection.send_response = send_with_headers  # type: ignore[union-attr] # it has one
    connection.malformed = malformed  # type: ignore[union-attr] # for what it has no answer to
    return protocol


def entering(app: ASGIApp) -> ASGIApp:
    """Return an application that is told that a worker of ours serves it."""

    def enter(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[IN_WORKER] = True
        return app(scope, receive, send)

    return enter
