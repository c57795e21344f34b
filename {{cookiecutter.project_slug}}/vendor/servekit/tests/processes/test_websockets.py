"""WebSockets of a worker: goodbyes are no errors, errors are ours, refusals look like answers."""

from typing import Any

import pytest
import websockets

from servekit.testing import patience
from tests.processes.running import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG: dict[str, Any] = {
    "program": "sockets",
    "workers": 1,
    "limits": {"message_bytes": 1000},
}
KEY = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
WITH_KEY = KEY + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def connect(service, path):
    url = f"ws://127.0.0.1:{service.port}{path}"
    return websockets.connect(url, open_timeout=patience(5), close_timeout=patience(5))


def complaints(service):
    return [line for line in service.log if line["level"] in {"warning", "error"}]


@pytest.mark.parametrize("path", ["/echo/ada", "/group", "/sends"])
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_goodbye_that_nobody_catches_is_no_error(service, path, how):
    before = len(complaints(service))
    async with connect(service, path) as socket:
        if path.startswith("/echo"):
            await socket.send("a")
            assert await socket.recv() == "a"
        if how == "reset":
            socket.transport.abort()
    await eventually(lambda: idle(service))
    assert complaints(service)[before:] == []
    assert service.other_output == []


async def idle(service):
    [row] = await service.workers()
    return row["running"] == 0 and row["connections"] == 0


async def test_an_error_is_one_record_of_ours_with_request_and_route(service):
    before = len(complaints(service))
    async with connect(service, "/broken/late") as socket:
        await socket.wait_closed()
    [line] = await eventually(lambda: complaints(service)[before:])
    assert (line["event"], line["route"]) == ("unhandled_exception", "/broken/{when}")
    assert "ValueError: broken" in line["exception"]
    assert line["request_id"]
    assert "logger" not in line


async def test_an_error_before_accepting_is_a_500_with_its_record(service):
    before = len(complaints(service))
    status, headers = await refusal(service, "/broken/early")
    assert status == 500
    assert headers["content-type"] == "application/problem+json"
    [line] = await eventually(lambda: complaints(service)[before:])
    assert (line["event"], line["request_id"]) == ("unhandled_exception", headers["x-request-id"])


REFUSALS = {
    "by the route": ("/closed", WITH_KEY, 403),
    "by an exception": ("/refused", WITH_KEY, 403),
    "by an http exception": ("/denied", WITH_KEY, 401),
    "no such route": ("/nowhere", WITH_KEY, 403),
    "error": ("/broken/early", WITH_KEY, 500),
    "no key": ("/echo/ada", KEY, 400),
    "old version": ("/echo/ada", WITH_KEY.replace("13", "8"), 400),
}


async def refusal(service, path, headers=WITH_KEY):
    async with service.connection() as connection:
        connection.ask(path, headers)
        status, fields, _ = await connection.answer()
        return status, fields


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_before_accepting_carries_the_headers_of_every_answer(service, name):
    path, asked, expected = REFUSALS[name]
    status, headers = await refusal(service, path, asked)
    assert status == expected
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_message_above_the_limit_ends_the_connection_with_1009(service):
    async with connect(service, "/echo/ada") as socket:
        await socket.send("x" * 1000)
        assert await socket.recv() == "x" * 1000
        await socket.send("x" * 1001)
        await socket.wait_closed()
    assert socket.close_code == 1009


async def test_text_that_is_none_ends_the_connection_and_is_no_error_of_ours(service):
    before = len(complaints(service))
    async with service.connection() as connection:
        connection.ask("/echo/ada", WITH_KEY)
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.write(b"\x81\x82" + bytes(4) + b"\xff\xff")
        assert b"\x03\xef" in await connection.reader.read()  # 1007
    await eventually(lambda: idle(service))
    assert complaints(service)[before:] == []
    assert service.other_output == []
