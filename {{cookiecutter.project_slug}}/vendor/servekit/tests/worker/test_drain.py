"""A worker that is told to end, and what is on its way to it."""

import asyncio
import select
import socket
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from servekit.edge.listeners import Listener
from servekit.testing import patience
from servekit.worker.worker import Worker


@pytest.mark.parametrize("accept", [True, False])
async def test_what_was_accepted_is_a_connection_before_idle_ones_are_closed(accept):
    opened: list[asyncio.Protocol] = []

    class Opened(asyncio.Protocol):
        def connection_made(self, _transport):
            opened.append(self)

    async def finish(_seconds: float) -> bool:
        assert len(opened) == 1
        return True

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        server.setblocking(False)
        listener = Listener(
            server,
            lambda _: Opened(),
            own_count=cast("Any", Mock()),
            limit=10,
            open_connections=lambda: 0,
        )
        await asyncio.to_thread(select.select, [server], [], [], patience(5))
        assert listener._accept()
        worker: Any = object.__new__(Worker)
        worker._program, worker._channel, worker._application = Mock(), Mock(), Mock()
        worker._listeners = [listener]
        worker._connections = SimpleNamespace(finish=AsyncMock(side_effect=finish))
        await worker._drain({"accept": accept, "delay": 0, "seconds": 1})
        worker._connections.finish.assert_awaited_once()
