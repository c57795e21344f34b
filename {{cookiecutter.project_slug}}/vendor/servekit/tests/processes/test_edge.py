import asyncio
import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import pytest_asyncio

from servekit.foreign.versions import SWITCH
from servekit.testing import patience
from tests.processes.running import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG: dict[str, Any] = {
    "limits": {
        "header_seconds": 1,
        "body_seconds": 1,
        "keep_alive_seconds": 2,
        "header_bytes": 4096,
        "header_count": 20,
        "uri_bytes": 512,
    }
}
FAST_WAYS = {"our cycle": "on", "uvicorn's cycle": "off"}


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=FAST_WAYS.values(), ids=FAST_WAYS
)
async def service(request):
    """The same service twice: answers are written by our own cycle, and by uvicorn's."""
    async with Service(environment={SWITCH: request.param}, **CONFIG) as starting:
        yield await starting.started()


GET = b"GET / HTTP/1.1\r\nHost: test\r\n"
BAD_REQUESTS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "invalid host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with credentials": b"GET / HTTP/1.1\r\nHost: user@test\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: test\r\n\r\n",
    "version 0.9": b"GET / HTTP/0.9\r\nHost: test\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "length and chunked": GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": GET + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "signed length": GET + b"Content-Length: +3\r\n\r\nabc",
    "folded header": GET + b"A: b\r\n c\r\n\r\n",
    "space before colon": GET + b"A : b\r\n\r\n",
    "bare newline": b"GET / HTTP/1.1\nHost: test\n\n",
    "null in value": GET + b"A: b\x00c\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size": GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "unknown coding": GET + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_malformed_or_ambiguous_request_is_answered_400_and_closed(service, name):
    async with service.connection() as connection:
        connection.send(BAD_REQUESTS[name])
        status, headers, body = await connection.answer()
        assert status == 400
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert headers["x-content-type-options"] == "nosniff"
        assert parsedate_to_datetime(headers["date"])
        assert json.loads(body)["status"] == 400
        assert await connection.closed() == b""


OVERSIZED = {
    "header bytes": (431, GET + b"A: " + b"x" * 10_000),
    "header bytes in one piece": (431, GET + b"A: " + b"x" * 10_000 + b"\r\n\r\n"),
    "header count": (431, GET + b"A: b\r\n" * 40 + b"\r\n"),
    "uri": (414, b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: test\r\n\r\n"),
    "uri without end": (414, b"GET /" + b"x" * 10_000),
    "megabytes of headers": (431, GET + b"A: b\r\n" * 500_000),
    "trailers": (400, GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 3_000_000),
}


@pytest.mark.parametrize("name", OVERSIZED)
async def test_what_is_too_large_is_refused_within_a_second_and_closed(service, name):
    expected, request = OVERSIZED[name]
    began = time.monotonic()
    async with service.connection() as connection:
        connection.send(request)
        if name == "trailers":
            await connection.closed()
        else:
            status, headers, _ = await connection.answer()
            assert status == expected
            assert headers["connection"] == "close"
            await connection.closed(3)
        assert time.monotonic() - began < patience(2.5)


async def test_slow_clients_are_closed_in_time_and_idle_ones_are_left_alone(service):
    async def silent(connection):
        assert await connection.closed() == b""

    async def trickle_headers(connection):
        connection.send(GET)
        await trickle(connection, b"A: b\r\n")
        assert (await connection.answer())[0] == 408

    async def second_request(connection):
        await connection.get()
        connection.send(b"GET / HT")
        assert (await connection.answer())[0] == 408

    async def trickle_body(connection):
        connection.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        await trickle(connection, b"x")
        assert (await connection.answer())[0] == 408

    async def trickle(connection, data):
        for _ in range(8):
            connection.send(data)
            await asyncio.sleep(0.1)

    async def slow_reader(connection):
        connection.ask("/large")
        await asyncio.sleep(patience(2))
        assert len(await connection.closed()) < 50_000_000

    began = time.monotonic()
    async with service.connection() as idle:
        await idle.get()
        clients = (silent, trickle_headers, second_request, trickle_body)
        await asyncio.gather(
            with_connection(service, slow_reader),
            *(with_connection(service, client) for client in clients),
        )
        assert time.monotonic() - began < patience(4.5)

    async with service.connection() as idle:
        await idle.get()
        await asyncio.sleep(1.2)
        await idle.get()
        assert await idle.closed(3) == b""


async def with_connection(service, client):
    async with service.connection() as connection:
        await client(connection)


async def test_a_steady_reader_may_take_longer_than_the_limit_for_silence(service):
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", service.port))
        await loop.sock_sendall(client, b"GET /pieces/200 HTTP/1.1\r\nHost: a\r\n\r\n")
        end = loop.time() + 2.5
        while loop.time() < end:
            assert await loop.sock_recv(client, 65_536)
            await asyncio.sleep(0.05)


async def test_a_steady_body_may_take_longer_than_the_limit_for_silence(service):
    async with service.connection() as connection:
        connection.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n")
        for _ in range(15):
            connection.send(b"x" * 2000)
            await asyncio.sleep(0.1)
        status, _, body = await connection.answer()
        assert (status, body) == (200, b"30000")


async def test_a_bad_request_behind_a_good_one_never_takes_the_place_of_its_answer(service):
    async with service.connection() as connection:
        connection.send(
            b"GET /sleep/0.2 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n" + GET + b"\r\n"
        )
        status, _, body = await connection.answer()
        assert status == 200
        assert body.isdigit()
        assert b"200 OK" not in await connection.closed()


async def test_pipelined_requests_are_answered_in_order(service):
    async with service.connection() as connection:
        connection.send(
            b"GET /sleep/0.1 HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n" + GET + b"\r\n"
        )
        for _ in range(3):
            assert (await connection.answer())[0] == 200


async def test_trailers_never_become_headers_and_an_old_client_is_served(service):
    async with service.connection() as connection:
        connection.send(
            b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nHost: b\r\n\r\n"
        )
        assert (await connection.answer())[2] == b"3"
        connection.send(GET + b"\r\n")
        assert (await connection.answer())[0] == 200
    async with service.connection() as connection:
        connection.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await connection.answer())[0] == 200
        assert await connection.closed() == b""


async def test_an_unknown_upgrade_is_answered_without_one(service):
    async with service.connection() as connection:
        connection.send(GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await connection.answer())[0] == 200
        assert not connection.closing


async def test_the_client_may_wait_for_100_continue(service):
    async with service.connection() as connection:
        connection.send(
            b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b"100 Continue" in await connection.reader.readuntil(b"\r\n\r\n")
        connection.send(b"abc")
        assert (await connection.answer())[2] == b"3"


async def test_both_ways_of_writing_give_the_same_answer_and_the_slower_one_is_logged():
    answers = {}
    for way in ("on", "off"):
        async with Service(environment={SWITCH: way}, workers=1) as starting:
            service = await starting.started()
            async with service.connection() as connection:
                connection.ask("/pieces/1")
                head = await connection.reader.readuntil(b"\r\n\r\n")
            answers[way] = [line for line in head.split(b"\r\n") if not line.startswith(b"date:")]
            lines = service.events("fast_ways_off")
            assert [line["libraries"] for line in lines] == ([["uvicorn"]] if way == "off" else [])
    assert answers["on"] == answers["off"]
    assert answers["on"][0] == b"HTTP/1.1 200 OK"
