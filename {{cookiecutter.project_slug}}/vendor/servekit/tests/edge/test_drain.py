"""How connections end when their worker drains, and WebSockets whose clients do not read."""

import asyncio
import select
import socket

import pytest

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


async def test_a_drain_closes_idle_connections_and_waits_for_nothing():
    async with Served(app) as served:
        idle, unused = await served.connect(GET % b"/"), await served.connect(b"")
        await idle.reader.readuntil(b"ok /")
        await served.until(lambda: served.connections.count() == 2)
        assert await served.connections.finish(5)
        assert await idle.rest() == await unused.rest() == b""


async def test_an_end_is_told_in_the_moment_in_which_nothing_was_found_to_answer():
    async with Served(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setblocking(False)
        await served.until(lambda: served.connections.count() == 1)
        served.connections.close_idle()
        assert client.recv(1) == b""  # without a turn of the loop
        client.close()


async def test_a_request_that_the_loop_has_not_seen_is_answered():
    async with Served(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setblocking(False)
        await served.until(lambda: served.connections.count() == 1)
        client.sendall(GET % b"/unseen")
        served.connections.close_idle()
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
        served.connections.close_idle()
        assert len(await client.rest(20)) > LARGE


async def test_who_was_not_told_that_the_connection_ends_may_ask_again():
    going_on = asyncio.Event()

    async def app(scope, _receive, send):
        if scope["path"] == "/next":
            return await answer(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await going_on.wait()
        return await send({"type": "http.response.body", "body": b""})

    async with Served(app) as served:
        client = await served.connect(GET % b"/")
        await client.reader.readuntil(b"begun\r\n")
        served.connections.close_idle()
        going_on.set()
        await client.reader.readuntil(b"0\r\n\r\n")
        client.writer.write(GET % b"/next")
        assert (await client.reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


UPLOADS = {
    "answered early": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999\r\n\r\n",
    "refused": b"POST / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 40_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("upload", UPLOADS)
async def test_who_is_still_sending_gets_the_answer_before_the_connection_ends(upload):
    loop = asyncio.get_running_loop()
    async with Served(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setblocking(False)
        await loop.sock_sendall(client, UPLOADS[upload])
        await served.until(lambda: select.select([client], [], [], 0)[0])
        served.connections.close_idle()
        for _ in range(5):  # the network brings a piece now and then
            await loop.sock_sendall(client, b"x" * 1000)
            await asyncio.sleep(0.02)
        assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 ")
        client.close()


async def test_a_websocket_whose_client_does_not_read_the_end_gives_its_place_back():
    async with Served(app, body_seconds=0.3) as served:
        handshake = b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"
        client = await served.connect(handshake, limit=2**10)
        await client.reader.readline()
        client.writer.transport.pause_reading()
        client.writer.write(CLOSE_FRAME)
        await served.until(lambda: not served.connections.count())


@pytest.mark.parametrize("kind", ["an answer", "a websocket's end"])
async def test_who_reads_as_fast_as_a_client_must_is_not_reset(kind):
    """Its system takes what it reads in small pieces, ours gives in large ones."""
    async with Served(app, body_seconds=0.5, body_bytes_per_second=10_000) as served:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", served.port))
        if kind == "an answer":
            await loop.sock_sendall(client, GET % b"/large")
        else:
            request = b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"
            await loop.sock_sendall(client, request)
            await loop.sock_recv(client, 10)
            await loop.sock_sendall(client, CLOSE_FRAME)
        began = loop.time()
        while (now := loop.time()) < began + 3:
            await asyncio.sleep(0.05)
            await loop.sock_recv(client, int(40_000 * (now - began)) or 1)
        assert served.connections.count() == 1
        client.close()
