"""What clients send that others get wrong, on the wire of a running service."""

import asyncio
import signal
import time

import pytest

from servekit.testing import patience
from tests.processes.running import Service, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG: dict[str, object] = {}
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "foo, h2c"])
@pytest.mark.parametrize("framing", ["length", "chunks", "split"])
async def test_the_body_behind_an_upgrade_that_nobody_honours_is_read(service, protocol, framing):
    upgrade = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n".encode()
    async with service.connection() as connection:
        if framing == "chunks":
            connection.send(
                POST + upgrade + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
        else:
            connection.send(POST + upgrade + b"Content-Length: 3\r\n\r\na")
            await asyncio.sleep(0.05 if framing == "split" else 0)
            connection.send(b"bc")
        assert (await connection.answer())[::2] == (200, b"3")
        assert (await connection.get()).isdecimal()  # the connection goes on


async def test_a_body_behind_an_upgrade_that_is_wrong_is_refused(service):
    async with service.connection() as connection:
        connection.send(
            POST
            + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        assert (await connection.answer())[0] == 400


async def test_a_client_that_has_closed_its_side_is_answered(service):
    async with service.connection() as connection:
        connection.ask("/sleep/0.3")
        connection.ask("/")
        connection.writer.write_eof()
        assert (await connection.answer())[0] == 200
        assert (await connection.answer())[0] == 200
        assert await connection.closed() == b""


async def test_a_refused_upload_that_expected_to_continue_is_no_error_of_ours(service):
    async with service.connection() as connection:
        connection.send(POST + b"Expect: 100-continue\r\n" + CHUNKED + b"not a chunk\r\n")
        status, _, _ = await connection.answer()
        assert status in {100, 400}
        await connection.closed()
    assert not [record for record in service.log if record.get("level") == "error"]
    assert not any("write_eof" in line for line in service.other_output)


async def test_http_1_0_is_not_told_to_continue(service):
    async with service.connection() as connection:
        connection.send(
            b"POST /body HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        )
        assert (await connection.answer())[0] == 200


async def test_a_refusal_leaves_a_record(service):
    async with service.connection() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert (await connection.answer())[0] == 400
    record = (await eventually(lambda: service.events("request_refused")))[-1]
    assert record["status"] == 400


async def test_every_answer_ends_in_the_drain_and_an_endless_event_stream_is_cut_after_it():
    async with Service(limits={"drain_seconds": 3}) as starting:
        service = await starting.started()
        async with (
            service.connection() as endless,
            service.connection() as events,
            service.connection() as pieces,
        ):
            endless.ask("/events")
            events.ask("/events/20")
            pieces.ask("/pieces/200", "Accept: text/event-stream\r\n")
            for stream in (endless, events):
                await stream.reader.readuntil(b"tick")
            await pieces.reader.readuntil(b"\r\n\r\n")
            began = asyncio.get_running_loop().time()
            service.process.terminate()
            body = await pieces.closed()
            assert body.endswith(b"0\r\n\r\n")
            assert len(body) > 200 * 65_536
            body = await events.closed()
            assert body.endswith(b"data: end\n\n\r\n0\r\n\r\n")
            assert body.count(b"tick") >= 18
            assert asyncio.get_running_loop().time() - began < patience(2.5)
            assert not (await endless.closed()).endswith(b"0\r\n\r\n")  # its client comes again
            assert await service.exit_code() == 0
            assert asyncio.get_running_loop().time() - began > 3
        assert [one["requests"] for one in service.events("requests_cancelled")] == [
            ["GET /events"]
        ]


async def test_new_code_serves_beside_an_event_stream_of_the_old():
    async with Service(limits={"drain_seconds": 60}, idle_seconds=0.1) as starting:
        service = await starting.started()
        old = await service.get()
        async with service.connection() as endless:
            endless.ask("/events")
            await endless.reader.readuntil(b"tick")
            service.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + patience(10)
            while await service.get() == old:
                assert time.monotonic() < deadline
            for _ in range(30):
                await endless.reader.readuntil(b"tick")  # beside the new code
