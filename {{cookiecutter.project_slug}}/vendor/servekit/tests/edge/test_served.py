"""What clients do on a real socket, and what a drain then meets."""

import asyncio
import time
from contextvars import ContextVar
from typing import Any

import pytest

from servekit.edge.protocol import PIPELINE_LIMIT
from servekit.worker.application import new_event_loop
from tests.edge.served import SECURITY, Served

HOST = b"Host: x\r\n"
GET = b"GET %b HTTP/1.1\r\n" + HOST + b"\r\n"
SLOW = GET % b"/slow"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LARGE = 12 * 2**20

UNREADABLE = {
    "a body": HOST + HANDSHAKE + b"Content-Length: 5\r\n\r\nhello",
    "a chunked body": HOST + HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a long field": HOST + HANDSHAKE + b"Cookie: " + b"a" * 9000 + b"\r\n\r\n",
    "a long target": HOST + HANDSHAKE + b"\r\n",
}


class Told(list[str]):
    """The paths of requests that were told of their client's leaving."""


@pytest.fixture
def told() -> Told:
    return Told()


async def answer(send, body: bytes = b"ok") -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app(told):
    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            if scope["path"] == "/large":
                await send({"type": "websocket.send", "bytes": b"x" * LARGE})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        path = scope["path"]
        if path in {"/wait", "/stream"}:
            kind = (b"content-type", b"text/event-stream")
            await send({"type": "http.response.start", "status": 200, "headers": [kind]})
            for number in range(8):
                piece = {"body": b"%d;" % number, "more_body": True}
                await send({"type": "http.response.body"} | piece)
                if path == "/wait":
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    told.append(path)
                    return
                await asyncio.sleep(0.3)
            await send({"type": "http.response.body", "body": b"END"})
            return
        if path == "/slow":
            await asyncio.sleep(1)
        await answer(send, b"x" * LARGE if path == "/large" else b"ok " + path.encode())

    return app


@pytest.mark.parametrize("what", list(UNREADABLE))
async def test_a_handshake_that_nobody_can_read_is_refused_and_closed(app, what):
    target = b"/" + b"a" * 8185 if what == "a long target" else b"/"
    async with Served(app) as served:
        client = await served.connect(b"GET %b HTTP/1.1\r\n" % target + UNREADABLE[what])
        refusal = await client.rest()
        status = {"a long field": b"431", "a long target": b"414"}.get(what, b"400")
        assert refusal.startswith(b"HTTP/1.1 " + status)
        assert b"%b: %b" % SECURITY in refusal.lower()
        await served.until(lambda: served.connections.count() == 0)


async def test_a_handshake_that_says_its_body_is_empty_is_none_the_worse(app):
    async with Served(app) as served:
        request = b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"Content-Length: 0\r\n\r\n"
        client = await served.connect(request)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 101")


async def test_a_handshake_behind_a_request_is_refused_and_the_request_answered(app):
    async with Served(app) as served:
        handshake = b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"
        client = await served.connect(SLOW + handshake)
        answer, _, refusal = (await client.rest()).partition(b"\r\n\r\nok /slow")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert refusal.startswith(b"HTTP/1.1 400 ")
        await served.until(lambda: served.connections.count() == 0)


@pytest.mark.parametrize("fault", ["closes while it is written to", "raises"])
async def test_no_websocket_ends_the_drain_of_the_others(app, fault, monkeypatch):
    async with Served(app) as served:
        slow = await served.connect(SLOW)
        target = b"/large" if fault != "raises" else b"/"
        handshake = b"GET %b HTTP/1.1\r\n" % target + HOST + HANDSHAKE + b"\r\n"
        websocket = await served.connect(handshake, limit=2**10)
        await websocket.reader.readline()
        protocol: Any
        [protocol] = [each for each in served.state.connections if hasattr(each, "conn")]
        if fault == "raises":
            monkeypatch.setattr(protocol, "shutdown", lambda: 1 / 0)
        else:
            websocket.writer.transport.pause_reading()
            websocket.writer.write(b"\x88\x82\0\0\0\0\x03\xe8")  # Close, 1000
            await served.until(lambda: protocol.conn.close_rcvd is not None)
        assert await served.connections.finish(10)
        assert (await slow.rest()).endswith(b"ok /slow")


async def test_every_request_of_a_connection_is_told_that_its_client_has_left(app, told):
    async with Served(app) as served:
        for data in (GET % b"/wait", GET % b"/wait" + GET % b"/"):
            client = await served.connect(data)
            await client.reader.readuntil(b"0;")
            client.writer.transport.abort()
        await served.until(lambda: told == ["/wait"] * 2)
        await served.until(lambda: not served.state.tasks)


async def test_the_request_that_runs_is_named_and_not_the_one_behind_it(app):
    async with Served(app) as served:
        await served.connect(SLOW + GET % b"/behind")
        await served.until(served.connections.running)
        assert served.connections.running() == ["GET /slow"]
        [(_, cycle)] = served.connections.oldest(time.monotonic(), 5)
        assert cycle.scope["path"] == "/slow"


async def test_a_stream_goes_on_to_a_client_that_only_sends_no_more(app):
    async with Served(app) as served:
        for data in (GET % b"/stream", GET % b"/stream" + GET % b"/"):
            client = await served.connect(data)
            client.writer.write_eof()
            answers = await client.rest(10)
            assert b"END" in answers


@pytest.mark.parametrize("target", [b"http://x", b"http://x?a=b"])
async def test_a_target_without_a_path_is_the_root(app, target):
    async with Served(app) as served:
        client = await served.connect(GET % target + b"GET / HTTP/1.0\r\n\r\n")
        answers = await client.rest()
        assert answers.startswith(b"HTTP/1.1 200")
        assert answers.count(b"ok /") == 2


async def test_a_large_answer_arrives_whole_though_the_body_was_not_read(app):
    """The answer closes the connection, and its client is slow but not too slow."""
    async with Served(app) as served:
        head = b"POST /large HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: 99\r\n"
        client = await served.connect(head + b"\r\nhalf", limit=2**16)
        size = 0
        began = time.monotonic()
        while piece := await client.reader.read(2**17):
            size += len(piece)
            if time.monotonic() - began < 3:  # longer than a client may linger
                await asyncio.sleep(0.1)
        assert size > LARGE


BAD = {
    "a method": (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "a large head": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
}


@pytest.mark.parametrize("what", list(BAD))
async def test_a_refusal_is_sent_though_the_answer_before_has_an_empty_end_to_come(what):
    async def app(_scope, _receive, send):
        length = (b"content-length", b"2")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        await asyncio.sleep(0.3)  # as middleware does, for a turn of the loop or three
        await send({"type": "http.response.body", "body": b""})

    request, status = BAD[what]
    async with Served(app) as served:
        client = await served.connect(GET % b"/")
        await client.reader.readuntil(b"\r\n\r\nok")
        client.writer.write(request)
        assert (await client.rest()).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("good", [1, 3])
async def test_what_came_before_a_bad_request_is_answered_before_it(app, good):
    async with Served(app) as served:
        client = await served.connect(SLOW + (GET % b"/") * (good - 1) + BAD["a method"][0])
        answers = await client.rest()
        assert answers.count(b"HTTP/1.1 200 OK") == good
        assert answers.count(b"HTTP/1.1 400") == 1
        assert answers.rindex(b"HTTP/1.1 200 OK") < answers.index(b"HTTP/1.1 400")


LOOPS: dict[str, Any] = {"asyncio": asyncio.SelectorEventLoop, "ours": new_event_loop}
user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.mark.parametrize("loop", LOOPS)
def test_no_request_of_a_connection_sees_the_context_of_one_before(loop):
    found = []

    async def app(scope, receive, send):
        found.append(user.get())
        user.set("the one before")
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        while (await receive()).get("more_body"):  # noqa: ASYNC110 - and nothing else
            await asyncio.sleep(0)  # so much comes that reading pauses, and goes on in here
        await answer(send)

    async def ask():
        async with Served(app) as served:
            head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % LARGE
            client = await served.connect(head + b"x" * LARGE)
            for request in (GET % b"/", b"GET / HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n"):
                await client.reader.readuntil(b"\r\n\r\nok")
                client.writer.write(request)
            await client.rest()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(ask())
    assert found == ["nobody"] * 3


WRONG = {
    "a chunk": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"400",
    ),
    "a head": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400"),
    "a method and a long line": (b"G\x00T /" + b"a" * 40_000, b"400"),
}


@pytest.mark.parametrize("bad", WRONG)
@pytest.mark.parametrize("before", [1, 3])
async def test_the_first_refusal_behind_answers_is_the_one_that_is_sent(app, bad, before):
    data, status = WRONG[bad]
    limits = {"header_seconds": 0.2, "body_seconds": 0.2}
    async with Served(app, **limits) as served:
        client = await served.connect(SLOW * before + data)
        *answers, refusal = (await client.rest(before + 5)).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200"] * before
        assert refusal.startswith(status)


async def test_a_request_that_is_refused_is_not_run(app):
    asked = []

    async def noting(scope, receive, send):
        asked.append(scope["path"])
        await app(scope, receive, send)

    async with Served(noting) as served:
        client = await served.connect(SLOW + b"".join(GET % b"/%d" % n for n in range(70)))
        text = await client.rest(10)
    assert text.count(b"HTTP/1.1 200 OK") == len(asked) == 1 + PIPELINE_LIMIT
    assert text.count(b"HTTP/1.1 400 ") == 1
    assert asked[-1] == f"/{PIPELINE_LIMIT - 1}"
