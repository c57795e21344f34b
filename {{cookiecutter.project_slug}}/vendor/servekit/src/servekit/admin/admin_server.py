"""A small server for the admin port, inside the supervisor's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn

from servekit.edge.sockets import close

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

STOP_SECONDS = 1


class AdminServer(uvicorn.Server):
    """uvicorn without its hands on the signals: those are the supervisor's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_admin(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a listening socket for as long as the block runs, then close it."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = AdminServer(config)
    # A copy: uvicorn closes what it is given, and a unix socket's file would stay behind.
    task = asyncio.create_task(server.serve([listener.dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
        close(listener)
