import asyncio
import signal
from pathlib import Path

import pytest

from tests.processes.running import Service, eventually


async def test_a_read_ends_with_its_client_and_a_write_is_finished(tmp_path: Path):
    ends = tmp_path / "ends"
    environment = {"ENDS_FILE": str(ends)}
    async with Service(environment=environment, workers=1) as starting:
        service = await starting.started()
        async with service.connection() as read, service.connection() as write:
            read.send(b"GET /note/10 HTTP/1.1\r\nHost: a\r\n\r\n")
            write.send(b"POST /note/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(0.3)  # both are under way
        await eventually(lambda: ends.exists() and ends.read_text() == "GET cancelled\n", 2)
        await eventually(lambda: ends.read_text().endswith("POST finished\n"), 5)
    assert service.other_output == []
    assert [record for record in service.log if record["level"] == "error"] == []


async def test_an_answer_that_is_complete_leaves_its_background_work_alone(tmp_path: Path):
    ends = tmp_path / "ends"
    async with Service(environment={"ENDS_FILE": str(ends)}, workers=1) as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/after/0.5")
            await connection.answer()
        await eventually(ends.exists, 5)
        assert ends.read_text() == "GET finished\n"


@pytest.fixture
async def leavers(tmp_path):
    environment = {"ENDS_FILE": str(tmp_path / "ends")}
    async with Service("leavers", environment=environment, workers=1) as starting:
        yield await starting.started()


def request(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("method", "path", "end"),
    [
        ("GET", "/stream/0", "cancelled"),
        ("POST", "/stream/0", "cancelled"),
        ("GET", "/stream/1000", "cancelled"),
        ("POST", "/stream/1000", "cancelled"),
        ("GET", "/empty-stream", "cancelled"),
        ("POST", "/empty-stream", "cancelled"),
        ("GET", "/stream-then", "then"),
        ("POST", "/stream-then", "then"),
        ("GET", "/endless-stream", "ended"),
        ("POST", "/poll", "told"),
        ("POST", "/receive", "http.disconnect"),
        ("POST", "/slow", "finished"),
    ],
)
async def test_who_closes_in_order_has_left_as_who_resets(leavers, tmp_path, method, path, end):
    """All that a server hears of it is an end of the stream, as of one that only sends no more."""
    async with leavers.connection() as connection:
        connection.send(request(method, path))
        if "stream" in path:
            assert await connection.reader.readuntil(b"first\n")
        else:
            await asyncio.sleep(0.3)
    ends = tmp_path / "ends"
    await eventually(lambda: ends.exists() and ends.read_text() == f"{method} {path} {end}\n", 6)
    assert [line for line in leavers.log if line["level"] in {"warning", "error"}] == []


@pytest.mark.parametrize(("method", "path"), [("GET", "/stream/6"), ("POST", "/slow")])
async def test_who_only_sends_no_more_gets_the_whole_answer(leavers, method, path):
    async with leavers.connection() as connection:
        connection.send(request(method, path))
        connection.writer.write_eof()
        answer = await connection.closed()
    assert answer.count(b"next\n") == (6 if method == "GET" else 0)
    assert answer.endswith(b"0\r\n\r\n" if method == "GET" else b"slow")


async def test_a_stream_that_waits_for_the_end_of_uvicorns_server_ends_with_the_worker(leavers):
    async with leavers.connection() as connection:
        connection.send(request("GET", "/stream-until-exit"))
        await connection.reader.readuntil(b"first\n")
        leavers.process.send_signal(signal.SIGTERM)
        assert (await connection.closed()).endswith(b"last\n\r\n0\r\n\r\n")
