"""Slow, huge and malformed requests are refused, and everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from chaos.cases.workers import MIB, rss_bytes
from chaos.client import Connection, Request
from chaos.report import Figure, at_least, at_most, case, exactly
from chaos.targets import Running, Target

OFFENDERS = 600
FILES_MAX = 400
HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ACCEPTED = 300
"""Offenders that are measured; the rest may wait for a place in the kernel's queue first."""

TIMED_OUT, UNAVAILABLE = 408, 503

HEAD = b"GET /chaos/ping HTTP/1.1\r\nHost: localhost\r\n"
BODY_HEAD = b"POST /chaos/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


@contextlib.contextmanager
def open_files(limit: int) -> Iterator[None]:
    """Give processes that start in the block this many files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@dataclass(frozen=True, order=True)
class Held:
    """How long an offender kept its connection, and the status it was told (0: none)."""

    seconds: float
    status: int = 0


async def drip(running: Running, start: bytes, piece: bytes, seconds: float) -> Held:
    """Send `start`, then a byte a second, until the other side hangs up."""
    begin = time.monotonic()
    said = b""
    try:
        async with asyncio.timeout(seconds):
            connection = await Connection.open(running.address)
            connection.writer.write(start)
            answer = asyncio.create_task(connection.reader.read())
            try:
                while not answer.done():
                    connection.writer.write(piece)
                    await asyncio.wait([answer], timeout=1)
                said = await answer
            finally:
                answer.cancel()
                connection.close()
    except TimeoutError:
        return Held(float("inf"))
    except OSError:
        pass
    status = int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/") else 0
    return Held(time.monotonic() - begin, status)


async def availability(running: Running, seconds: float) -> float:
    """Return the share of well-behaved requests that are answered 200 within 5 s."""
    good = total = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        total += 1
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            good += (await running.get("/chaos/ping", seconds=5)).status == 200  # noqa: PLR2004
        await asyncio.sleep(0.1)
    return good / total


@case(29, "slow headers, bodies and reads: 600 clients, 400 files")
async def slow_clients(target: Target) -> list[Figure]:
    """Hold more connections than the service has files, in three ways."""
    headers, body = target.pace(HEADER_SECONDS, 2), target.pace(BODY_SECONDS, 3)
    # More than the kernel's buffers take off the service's hands.
    big = Request("/chaos/big?mib=16").encode()
    return [
        *await _offend(target, "headers", headers, lambda *to: drip(to[0], HEAD, b"X", to[1])),
        *await _offend(target, "bodies", body, lambda *to: drip(to[0], BODY_HEAD, b"x", to[1])),
        *await _offend(target, "reads", body, lambda *to: _read_nothing(to[0], big, to[1])),
    ]


Offence = Callable[[Running, float], Awaitable[Held]]


async def _offend(target: Target, name: str, limit: float, offence: Offence) -> list[Figure]:
    """Let 600 clients offend at once while others ask, for as long as they may."""
    with open_files(FILES_MAX):
        setting = {f"TIMEOUT_{phase}_SECONDS": f"{limit:g}" for phase in ("HEADER", "BODY")}
        service = target.start(WORKERS="1", **setting)
        running = await service.__aenter__()
    try:
        offenders = [asyncio.create_task(offence(running, limit * 2)) for _ in range(50)]
        for _ in range(OFFENDERS // 50 - 1):
            await asyncio.sleep(0.05)
            offenders += [asyncio.create_task(offence(running, limit * 2)) for _ in range(50)]
        served = await availability(running, limit)
        ends = sorted(await asyncio.gather(*offenders))
        # Whoever was refused at once, by a service under pressure, held nothing.
        held = [one for one in ends if one.status != UNAVAILABLE][:ACCEPTED]
    finally:
        await service.__aexit__(None, None, None)
    figures = [
        at_least(f"slow {name}: share of others served", served, 1),
        at_most(f"slow {name}: seconds held (first {ACCEPTED})", held[-1].seconds, limit, " s"),
    ]
    if name != "reads":
        told = sum(one.status == TIMED_OUT for one in held) / len(held)
        figures.append(exactly(f"slow {name}: share told 408", told, 1))
    return figures


async def _read_nothing(running: Running, start: bytes, seconds: float) -> Held:
    """Ask for much and read nothing, until the other side gives up."""
    begin = time.monotonic()
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(client, running.address)
            await loop.sock_sendall(client, start)
        except OSError:
            return Held(time.monotonic() - begin)
        ends = select.poll()
        ends.register(client, select.POLLHUP | select.POLLERR)
        while not ends.poll(0):
            if time.monotonic() > begin + seconds:
                return Held(float("inf"), _status_of(client))
            await asyncio.sleep(0.2)
    return Held(time.monotonic() - begin)


def _status_of(client: socket.socket) -> int:
    """Return the status that waits to be read, without reading it; 0 without one."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(client.recv(12, socket.MSG_PEEK).split(b" ")[1])
    return 0


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
            figures.append(at_most(f"{name}: seconds", seconds, 1, " s"))
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
