"""Load comes at its own times, whatever the service does."""

import asyncio
import time
from contextlib import suppress

import pytest

from servekit.diagnosis import doctor, judgement, load
from servekit.diagnosis.requests_file import Request
from servekit.testing import patience

GET = Request("GET", "/")


def base_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_requests_do_not_wait_for_answers(monkeypatch):
    limit = patience(1)
    monkeypatch.setattr(load, "TIMEOUT_SECONDS", limit)
    came: list[float] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        ended = await load.send_load(load.Load(base_of(server), [GET], rate=40, seconds=0.5))

    assert ended == {f"failed: no answer within {limit:g} s": 20}
    assert came[-1] - came[0] < patience(1)  # one after the other would take 20 times as long


async def test_requests_are_sent_in_turn_whole_and_answers_counted_by_status():
    came: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0)
        came.append(head + await reader.readexactly(length))
        status = b"201 Created" if head.startswith(b"POST") else b"404 Not Found"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    post = Request("POST", "/orders", (("X-Who", "ada"),), "ä")
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        told = load.Load(base_of(server), [Request("GET", "/a?b=1"), post], rate=100, seconds=0.05)
        ended = await load.send_load(load.read_load(told.written().decode()))

        named = load.Load(base_of(server), [GET], rate=100, seconds=0.01, host="shop.example")
        assert await load.send_load(load.read_load(named.written().decode())) == {"404": 1}

    assert b"\r\nHost: shop.example\r\n" in came.pop()
    assert ended == {"404": 3, "201": 2}
    host = told.base.removeprefix("http://").encode()
    get = b"GET /a?b=1 HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    assert came.count(get) == 3
    assert b"X-Who: ada\r\nContent-Length: 2\r\n\r\n\xc3\xa4" in b"".join(came)


@pytest.mark.parametrize(
    ("listens", "reason"), [(True, "closed without an answer"), (False, "Connect")]
)
async def test_requests_without_an_answer_are_counted_by_the_reason(listens, reason):
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")  # or its end would be a reset
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    base = base_of(server)
    if not listens:
        server.close()
    async with server:
        ended = await load.send_load(load.Load(base, [GET], rate=100, seconds=0.05))

    [(how, count)] = ended.items()
    assert count == 5
    assert how.startswith(f"failed: {reason}")
    assert "of the doctor's own requests failed" in "".join(judgement.unanswered(ended))


async def test_answers_that_come_after_the_sampling_are_waited_for():
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await asyncio.sleep(2.5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def sent(base: str) -> dict[str, int]:
        wanted = doctor.Examination(
            seconds=0, base=base, host="shop.example", requests=(GET,), rate=2
        )
        answers: dict[str, int] = {}
        with doctor.load(wanted, answers):
            pass
        return answers

    heads: list[bytes] = []
    server = await asyncio.start_server(late, "127.0.0.1", 0)
    async with server:
        assert await asyncio.to_thread(sent, base_of(server)) == {"200": 2}
    assert all(b"\r\nHost: shop.example\r\n" in head for head in heads)


async def test_an_interrupted_load_sends_no_more_and_tells_what_ended_how():
    came = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def sent(base: str) -> dict[str, int]:
        answers: dict[str, int] = {}
        wanted = doctor.Examination(seconds=600, base=base, requests=(GET,), rate=20)
        with suppress(KeyboardInterrupt), doctor.load(wanted, answers):
            while len(came) < 5:
                time.sleep(0.01)
            raise KeyboardInterrupt
        return answers

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        answers = await asyncio.to_thread(sent, base_of(server))
    assert answers == {"200": len(came)}


@pytest.mark.parametrize(("status", "told"), [("400", 1), ("403", 1), ("413", 1), ("404", 0)])
def test_what_was_refused_before_its_route_is_never_called_healthy(status, told):
    assert len([*judgement.unanswered({"200": 98, status: 2})]) == told
