"""What runs is told, whoever is still connected."""

import asyncio
import socket
import struct

import pytest

from tests.edge.served import Served
from tests.edge.test_served import HANDSHAKE, HOST

POST = b"POST /write HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
SOCKET = b"GET /feed HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"


@pytest.mark.parametrize(("data", "named"), [(POST, "POST /write"), (SOCKET, "WEBSOCKET /feed")])
async def test_work_whose_client_has_left_is_named_among_what_runs(data, named):
    begun, end = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        begun.set()
        await end.wait()

    async with Served(app) as served:
        client = await served.connect(data)
        await begun.wait()
        assert served.connections.running() == [named]
        connection: socket.socket = client.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()  # a reset
        await served.until(lambda: not served.state.connections)
        assert served.connections.running() == [named]
        end.set()
        await served.until(lambda: not served.state.tasks)
        assert served.connections.running() == []
