"""One connection, without a network."""

import asyncio
import contextvars
import re

import pytest
from structlog.testing import capture_logs

from servekit.edge.hosts import KNOWN_HOST_BYTES, KNOWN_HOSTS_LIMIT
from servekit.edge.protocol import HttpProtocol
from servekit.edge.refusals import LARGE_HEAD
from tests.asgi import answers
from tests.edge.wire import Client

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

seen = contextvars.ContextVar("seen", default="nothing")


async def test_a_pipelined_request_sees_nothing_of_the_one_before():
    found = []

    async def app(_scope, _receive, send):
        found.append(seen.get())
        seen.set("the one before")
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    await Client(app).ask(GET * 5)
    assert found == ["nothing"] * 5


UPGRADE = b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n"


async def test_several_upgrades_that_nobody_honours_are_answered_one_after_the_other():
    bodies = []

    async def app(_scope, receive, send):
        bodies.append((await receive())["body"])
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    with capture_logs() as logs:
        requests = [
            UPGRADE + b"Content-Length: 1\r\n\r\na",
            UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbc\r\n0\r\n\r\n",
            UPGRADE + b"\r\n",
            GET,
        ]
        answer = await Client(app).ask(b"".join(requests))
        assert bodies == [b"a", b"bc", b"", b""]
        assert answer.count(b"HTTP/1.1 200 OK") == 4
        client = Client(app)
        await client.ask(requests[0] + UPGRADE + b"Content-Length: x\r\n\r\n")
        assert client.wire.written.count(b"HTTP/1.1 200 OK") == 1
        assert client.wire.written.count(b"HTTP/1.1 400 ") == 1
        assert client.wire.closed
    assert [log["event"] for log in logs] == ["request_refused"]


async def never(_scope, _receive, _send):
    raise AssertionError("refused before")


@pytest.mark.parametrize("fault", [KeyError("of ours"), ValueError("of ours")])
async def test_a_fault_of_ours_while_reading_is_a_500_with_its_trace(monkeypatch, fault):
    def fail(_self, _version):
        raise fault

    monkeypatch.setattr(HttpProtocol, "_begin_request", fail)
    with capture_logs() as logs:
        answer = await Client(never).ask(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    [failed] = [log for log in logs if log["event"] == "connection_failed"]
    assert failed["exc_info"] is fault


async def test_refusals_are_counted_and_one_of_many_is_logged():
    counted: list[tuple[int, str]] = []
    with capture_logs() as logs:
        for _ in range(3):
            client = Client(never)
            refusals = client.protocol.options.refusals
            refusals._count = lambda *refusal: counted.append(refusal)
            answer = await client.ask(b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ")
        for _ in range(3):
            refusals.answer(LARGE_HEAD)
    assert counted == [(400, "malformed")] * 3 + [(431, "large_head")] * 3
    assert [log["status"] for log in logs if log["event"] == "request_refused"][-1] == 431
    assert len([log for log in logs if log.get("status") == 431]) == 1


async def test_hosts_that_clients_make_up_are_remembered_in_few_bytes():
    client = Client(answers(200))
    known = client.protocol.options.known_hosts
    for number in range(2 * KNOWN_HOSTS_LIMIT):
        await client.ask(b"GET / HTTP/1.1\r\nhost: h%d\r\n\r\n" % number)
    await client.ask(b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n" % (b"h" * (KNOWN_HOST_BYTES + 1)))
    assert b"h%d" % number in known
    assert len(known) <= KNOWN_HOSTS_LIMIT
    assert max(map(len, known)) <= KNOWN_HOST_BYTES


ABSOLUTE = {
    b"GET http://good.example/a HTTP/1.1\r\nHost: evil.example\r\n": b"good.example",
    b"GET HTTP://good.example:8080?a HTTP/1.1\r\nHost: x\r\nA: b\r\n": b"good.example:8080",
    b"GET http://[::1]:80/ HTTP/1.1\r\nhOST: x\r\n": b"[::1]:80",
    b"GET http://good.example HTTP/1.0\r\n": b"good.example",
    b"POST http://good.example/ HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n": b"good.example",
    b"GET /http://other.example/ HTTP/1.1\r\nHost: x\r\n": b"x",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n": b"x",
}


@pytest.mark.parametrize("head", ABSOLUTE)
async def test_the_host_of_an_absolute_target_is_the_one_that_counts(head):
    hosts = []

    async def app(scope, receive, send):
        hosts.append([value for name, value in scope["headers"] if name == b"host"])
        await answers(200)(scope, receive, send)

    assert (await Client(app).ask(head + b"\r\n")).startswith(b"HTTP/1.1 200 ")
    assert hosts == [[ABSOLUTE[head]]]


@pytest.mark.parametrize(
    "target", [b"http:///a", b"http://user@a/", b"http://a b/", b"http://a:x/", b"http://"]
)
async def test_an_absolute_target_without_a_host_that_can_be_one_is_refused(target):
    answer = await Client(never).ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert answer.startswith(b"HTTP/1.1 400 ")


BAD_TARGETS = [b"http://user@a/", b"/\x80", b"http://a:x/"]


@pytest.mark.parametrize("target", BAD_TARGETS)
@pytest.mark.parametrize("ahead", [1, 2, 3])
async def test_what_is_wrong_with_a_target_is_told_after_the_answers_to_those_before(ahead, target):
    go_on, paths = asyncio.Event(), []

    async def app(scope, receive, send):
        paths.append(scope["path"])
        await go_on.wait()
        await answers(200)(scope, receive, send)

    client = Client(app)
    good = b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(ahead))
    client.protocol.data_received(good + b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    await asyncio.sleep(0)
    assert client.wire.written == b""
    go_on.set()
    await client.ask(b"")
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", client.wire.written)
    assert statuses == [b"200"] * ahead + [b"400"]
    assert paths == [f"/{number}" for number in range(ahead)]
