"""What uvicorn keeps private, and a worker builds its connections and its start-up on."""

from typing import Any

from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

__all__ = [
    "FlowControl",
    "HttpToolsProtocol",
    "LifespanOn",
    "RequestResponseCycle",
    "ServerState",
    "asks_for_websocket",
    "renew_default_headers",
]


def asks_for_websocket(protocol: HttpToolsProtocol) -> bool:
    """Return whether the request being read asks for a WebSocket, and there is a library for it."""
    return protocol._should_upgrade()  # noqa: SLF001 - the one place for private names


async def renew_default_headers(server: Any) -> None:
    """Have a `uvicorn.Server` that serves nothing renew the date of its answers."""
    await server.on_tick(0)
