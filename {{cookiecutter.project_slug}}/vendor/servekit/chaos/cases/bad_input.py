"""Huge and malformed requests are refused before they cost anything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from chaos.cases.workers import MIB
from chaos.report import Figure, at_most, case, exactly, timed
from chaos.targets import Running, Target, rss_bytes
from chaos.traffic.client import Connection

HEAD = b"GET /chaos/ping HTTP/1.1\r\nHost: localhost\r\n"


async def refused(
    running: Running, pieces: Iterator[bytes], seconds: float = 10
) -> tuple[int, float]:
    """Send pieces until answered; return the status (0: none) and the seconds until it came."""
    begin = time.monotonic()
    connection = await Connection.open(running.address)
    answer = asyncio.create_task(connection.read_answer())
    try:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(OSError):
                for piece in pieces:
                    connection.writer.write(piece)
                    await connection.writer.drain()
                    if answer.done():
                        break
            return (await answer).status, time.monotonic() - begin
    except (OSError, EOFError, TimeoutError):
        return 0, time.monotonic() - begin
    finally:
        answer.cancel()
        connection.close()


def _many_headers() -> Iterator[bytes]:
    yield HEAD
    for number in range(100 * 16):
        yield b"X-%d: " % number + b"a" * 65_000 + b"\r\n"
    yield b"\r\n"


def _thousand_headers() -> Iterator[bytes]:
    yield HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n"


def _long_target() -> Iterator[bytes]:
    yield b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _big_body() -> Iterator[bytes]:
    yield b"POST /chaos/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (
        200 * MIB
    )
    for _ in range(200):
        yield b"x" * MIB


def _big_chunks() -> Iterator[bytes]:
    yield b"POST /chaos/body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(200):
        yield b"%x\r\n" % MIB + b"x" * MIB + b"\r\n"
    yield b"0\r\n\r\n"


@case(30, "huge headers, targets and bodies")
async def huge(target: Target) -> list[Figure]:
    """Send more than anybody should; the answer comes early and memory stays."""
    attacks = [
        ("100 MiB of headers", _many_headers, 431),
        ("1,000 headers", _thousand_headers, 431),
        ("1 MiB target", _long_target, 414),
        ("200 MiB body", _big_body, 413),
        ("200 MiB body in chunks", _big_chunks, 413),
    ]
    figures = []
    async with target.start(WORKERS="1") as running:
        await running.get("/chaos/ping")
        pids = await running.pids(workers=1)
        before = rss_bytes(pids)
        for name, pieces, expected in attacks:
            status, seconds = await refused(running, pieces())
            figures.append(exactly(name, status, expected))
            figures.append(timed(at_most(f"{name}: seconds", seconds, 1, " s")))
        grown = (rss_bytes(pids) - before) / MIB
    figures.append(at_most("RSS growth", grown, 8, " MiB"))
    return figures


MALFORMED = {
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "invalid Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    ),
    "a length that is no number": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\na"
    ),
    "unknown transfer coding": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: cow\r\n\r\n"
    ),
    "chunked not last": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
    ),
    "bad chunk size": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"
    ),
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n",
    "HTTP/2.0 on the first line": b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /\r\nHost: localhost\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}
SMUGGLED = b"GET /chaos/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@case(31, "malformed and ambiguous HTTP")
async def malformed(target: Target) -> list[Figure]:
    """Send what RFC 9112 tells to refuse, a second request behind it."""
    figures = []
    async with target.start(WORKERS="1") as running:
        for name, sent in MALFORMED.items():
            connection = await Connection.open(running.address)
            connection.writer.write(sent + SMUGGLED)
            try:
                async with asyncio.timeout(5):
                    answers = await connection.reader.read()
            except (OSError, TimeoutError) as error:
                answers = type(error).__name__.encode()
            finally:
                connection.close()
            statuses = [
                line.split()[1].decode()
                for line in answers.splitlines()
                if line.startswith(b"HTTP/1.1 ")
            ]
            figures.append(exactly(name, " ".join(statuses) or answers.decode(), "400"))
        alive = (await running.get("/chaos/ping")).status
    figures.append(exactly("still serves", alive, 200))
    return figures
