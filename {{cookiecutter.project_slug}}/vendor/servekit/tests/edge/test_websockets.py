"""What a client may do to a WebSocket's connection that uvicorn does not expect."""

import asyncio
from types import SimpleNamespace

import pytest

from servekit.edge.websockets import websocket_protocol


class Uvicorns:
    def __init__(self, sent: object) -> None:
        self.conn = SimpleNamespace(close_sent=sent)
        self.queue: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.transport = SimpleNamespace(close=lambda: self.did.append("closed"))
        self.did: list[str] = []

    def handle_parser_exception(self) -> None:
        assert self.conn.close_sent is not None
        self.did.append("said goodbye")


@pytest.mark.parametrize(("sent", "did"), [("a frame", "said goodbye"), (None, "closed")])
async def test_frames_that_cannot_be_read_before_the_handshake_close_the_connection(sent, did):
    protocol = websocket_protocol(Uvicorns)(sent)
    protocol.handle_parser_exception()
    assert protocol.did == [did]
    if sent is None:
        assert protocol.queue.get_nowait() == {"type": "websocket.disconnect", "code": 1002}
