"""What uvicorn keeps private, and a worker builds its connections and its start-up on."""

import asyncio
import functools
import importlib.util
import logging
from pathlib import Path
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
    "no_small_talk",
    "renew_default_headers",
    "served_by",
]


def asks_for_websocket(protocol: HttpToolsProtocol) -> bool:
    """Return whether the request being read asks for a WebSocket, and there is a library for it."""
    return protocol._should_upgrade()  # noqa: SLF001 - the one place for private names


def served_by(task: asyncio.Task[Any]) -> Any:
    """Return the cycle or WebSocket whose application a task of uvicorn's runs; None once it ended.

    It has a `scope`.
    """
    frame = getattr(task.get_coro(), "cr_frame", None)  # of its method `run_asgi`
    return frame.f_locals.get("self") if frame is not None else None


def no_small_talk(record: logging.LogRecord) -> bool:
    """Refuse what uvicorn and its WebSockets say of each connection, as a filter of their log.

    The application's own records pass, which uvicorn's parameter `log_level` would stop as well.
    """
    return record.levelno >= logging.WARNING or not record.pathname.startswith(places())


@functools.cache
def places() -> tuple[str, ...]:
    """Return where the code lies that writes to uvicorn's log."""
    specs = [importlib.util.find_spec(name) for name in ("uvicorn", "websockets", "wsproto")]
    return tuple(f"{Path(spec.origin).parent}/" for spec in specs if spec and spec.origin)


async def renew_default_headers(server: Any) -> None:
    """Have a `uvicorn.Server` that serves nothing renew the date of its answers."""
    await server.on_tick(0)
