"""Clients that take their time are let go, and everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from chaos.report import Figure, at_least, at_most, case, exactly, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Connection, Request

OFFENDERS = 600
FILES_MAX = 400
HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ACCEPTED = 300
"""Offenders that are measured; the rest may wait for a place in the kernel's queue first."""

TIMED_OUT, UNAVAILABLE = 408, 503

HEAD = b"GET /chaos/ping HTTP/1.1\r\nHost: localhost\r\n"
BODY_HEAD = b"POST /chaos/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


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


Offence = Callable[[Running, float], Coroutine[None, None, Held]]


async def _offend(target: Target, name: str, limit: float, offence: Offence) -> list[Figure]:
    """Let 600 clients offend at once while others ask, for as long as they may."""
    # A short run holds on a machine that does other work too.
    held_max = limit * target.pace(1, 2)
    patience = held_max * 1.2
    setting = {f"TIMEOUT_{phase}_SECONDS": f"{limit:g}" for phase in ("HEADER", "BODY")}
    async with target.start(setting, files=FILES_MAX, WORKERS="1") as running:
        offenders = [asyncio.create_task(offence(running, patience)) for _ in range(50)]
        for _ in range(OFFENDERS // 50 - 1):
            await asyncio.sleep(0.05)
            offenders += [asyncio.create_task(offence(running, patience)) for _ in range(50)]
        served = await availability(running, limit)
        ends = sorted(await asyncio.gather(*offenders))
        # Whoever was refused at once, by a service under pressure, held nothing.
        held = [one for one in ends if one.status != UNAVAILABLE][:ACCEPTED]
        longest = held[-1].seconds
    figures = [
        timed(at_least(f"slow {name}: share of others served", served, 1)),
        timed(at_most(f"slow {name}: seconds held (first {ACCEPTED})", longest, held_max, " s")),
    ]
    if name != "reads":
        told = sum(one.status == TIMED_OUT for one in held) / len(held)
        figures.append(timed(exactly(f"slow {name}: share told 408", told, 1)))
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
            await asyncio.sleep(0.1)
    return Held(time.monotonic() - begin)


def _status_of(client: socket.socket) -> int:
    """Return the status that waits to be read, without reading it; 0 without one."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(client.recv(12, socket.MSG_PEEK).split(b" ")[1])
    return 0
