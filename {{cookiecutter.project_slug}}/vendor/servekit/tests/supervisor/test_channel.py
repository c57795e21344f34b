import asyncio
import socket

from servekit.supervisor.channel import Channel
from servekit.testing import patience


async def test_messages_and_bodies_arrive_in_order_and_the_end_is_noticed():
    one, two = [await Channel.open(end) for end in socket.socketpair()]
    one.send({"event": "heartbeat"})
    one.send({"event": "answer"}, b"x" * 1_000_000)
    assert await two.receive() == ({"event": "heartbeat"}, b"")
    assert await two.receive() == ({"event": "answer"}, b"x" * 1_000_000)
    one.close()
    async with asyncio.timeout(patience(1)):
        assert await two.receive() is None
    two.send({"event": "nobody hears"})
    two.close()
