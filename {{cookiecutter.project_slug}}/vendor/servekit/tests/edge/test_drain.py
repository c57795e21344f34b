"""How connections end when their worker drains, and WebSockets whose clients do not read."""

import asyncio
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from servekit.edge.limits import ConnectionLimits
from servekit.edge.timeouts import LastWords
from tests.edge.served import Served
from tests.edge.test_served import GET, HANDSHAKE, HOST, LARGE, answer

CLOSE_FRAME = b"\x88\x82\0\0\0\0\x03\xe8"


async def app(scope, receive, send):
    if scope["type"] == "http":
        large = scope["path"] == "/large"
        await answer(send, b"x" * LARGE if large else b"ok " + scope["path"].encode())
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": b"x" * LARGE})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def served_once(served):
    """Return a client that has had an answer."""
    client = await served.connect(GET % b"/first")
    await client.reader.readuntil(b"ok /first")
    return client


async def test_who_asked_a_moment_ago_is_answered_once_more_in_the_drain():
    async with Served(app) as served:
        client = await served_once(served)
        ending = asyncio.create_task(served.connections.finish(10, idle_seconds=10))
        await asyncio.sleep(0.1)  # the client thinks, while idle connections are being closed
        client.writer.write(GET % b"/second" + b"GET /last HTTP/1.0\r\n\r\n")
        answers = await client.rest()
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.endswith(b"ok /last")
        assert await ending


async def test_who_has_been_quiet_for_long_is_closed_at_once():
    async with Served(app) as served:
        quiet = await served_once(served)
        [connection] = served.connections.http_connections()
        await served.until(lambda: connection.timeouts.idle_seconds(time.monotonic()) > 0.2)
        fresh = await served_once(served)
        served.connections.close_idle(time.monotonic(), 0.2)
        assert await quiet.rest() == b""
        fresh.writer.write(GET % b"/second")
        await fresh.reader.readuntil(b"ok /second")


async def test_a_drain_that_waits_for_nobody_closes_all_that_is_idle():
    async with Served(app) as served:
        idle, unused = await served_once(served), await served.connect(b"")
        await served.until(lambda: served.connections.count() == 2)
        assert await served.connections.finish(5, idle_seconds=0)
        assert await idle.rest() == await unused.rest() == b""


async def test_an_end_is_told_in_the_moment_in_which_nothing_was_found_to_answer():
    async with Served(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setblocking(False)
        await served.until(lambda: served.connections.count() == 1)
        served.connections.close_idle(time.monotonic(), 0)
        assert client.recv(1) == b""  # without a turn of the loop
        client.close()


async def test_a_request_that_the_loop_has_not_seen_is_answered():
    async with Served(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setblocking(False)
        await served.until(lambda: served.connections.count() == 1)
        client.sendall(GET % b"/unseen")
        served.connections.close_idle(time.monotonic(), 0)
        answered = await asyncio.get_running_loop().sock_recv(client, 1000)
        assert b"ok /unseen" in answered
        client.close()


async def test_an_answer_that_is_still_being_sent_arrives_whole():
    async with Served(app) as served:
        client = await served.connect(GET % b"/large", limit=2**10)
        await client.reader.readline()
        [connection] = served.connections.http_connections()
        await served.until(lambda: not connection.answering)
        assert connection.transport.get_write_buffer_size() > 0
        served.connections.close_idle(time.monotonic(), 0)
        assert len(await client.rest(20)) > LARGE


async def test_a_websocket_whose_client_does_not_read_the_end_gives_its_place_back():
    async with Served(app, body_seconds=0.3) as served:
        handshake = b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"
        client = await served.connect(handshake, limit=2**10)
        await client.reader.readline()
        client.writer.transport.pause_reading()
        client.writer.write(CLOSE_FRAME)
        await served.until(lambda: not served.connections.count())


@pytest.mark.parametrize(("rate", "reads"), [(499, False), (501, True)])
def test_who_reads_at_the_least_rate_that_is_allowed_keeps_its_place(rate, reads):
    class Transport:
        left, aborted = 10**6, False

        def get_write_buffer_size(self):
            return self.left

        def get_extra_info(self, _name):
            return SimpleNamespace(setsockopt=lambda *_: None)

        def abort(self):
            self.aborted = True

    transport: Any = Transport()
    words = LastWords(transport, ConnectionLimits(body_seconds=30, body_bytes_per_second=500), 0)
    for second in range(1, 200):
        transport.left -= rate
        words.check(second)
    assert transport.aborted != reads
