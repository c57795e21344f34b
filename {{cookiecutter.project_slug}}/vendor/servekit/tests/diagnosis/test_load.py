"""Load comes at its own times, whatever the service does."""

import asyncio
import time

from servekit.diagnosis import doctor, load
from servekit.testing import patience


async def test_requests_do_not_wait_for_answers(monkeypatch):
    monkeypatch.setattr(load, "TIMEOUT_SECONDS", patience(1))
    came: list[float] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        ended = await load.send_load(url, rate=40, seconds=0.5)

    assert ended == {"failed": 20}
    assert came[-1] - came[0] < patience(1)  # one after the other would take 20 times as long


async def test_answers_are_counted_by_status_and_the_query_is_sent():
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a?b=1"
        assert await load.send_load(url, rate=100, seconds=0.05) == {"404": 5}
    assert heads[0].startswith(b"GET /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_answers_that_come_after_the_sampling_are_waited_for():
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2.5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def sent(url: str) -> dict[str, int]:
        with doctor.load(doctor.Examination(seconds=0, url=url, rate=2)) as answers:
            pass
        return answers

    server = await asyncio.start_server(late, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await asyncio.to_thread(sent, url) == {"200": 2}
