"""Bytes that are nearly requests: no fault of ours comes to light, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time

from chaos.report import Figure, at_least, at_most, case, exactly, timed
from chaos.targets import Running, Target, rss_bytes
from chaos.traffic.client import Connection

AT_ONCE = 40
READ_SECONDS = 0.3
GONE_SECONDS = 10.0
RSS_MIB_MAX = 32
HEAD = b"Host: localhost\r\n"
SEEDS = [
    b"GET /chaos/ping HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"HEAD /chaos/big?kib=64 HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET /chaos/pages/1 HTTP/1.1\r\n" + HEAD + b"Accept-Encoding: gzip, br\r\n\r\n",
    b"GET /chaos/file HTTP/1.1\r\n" + HEAD + b"Range: bytes=0-99,200-\r\n\r\n",
    b"POST /chaos/body HTTP/1.1\r\n" + HEAD + b"Content-Length: 11\r\n\r\nhello world",
    b"POST /chaos/body HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nA: b\r\n\r\n",
    b"POST /chaos/body HTTP/1.1\r\n"
    + HEAD
    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /chaos/json HTTP/1.1\r\n"
    + HEAD
    + b'Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a": []}',
    b"POST /chaos/form HTTP/1.1\r\n"
    + HEAD
    + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 63\r\n\r\n"
    + b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--b--\r\n',
    b"GET /chaos/ping HTTP/1.1\r\n" + HEAD + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    b"GET /chaos/socket HTTP/1.1\r\n"
    + HEAD
    + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\x01\x02\x03\x04igohn",
    b"GET /chaos/ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n",
]
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b":", b"%00", b"%", b"..", b"//", b"?"),
    *(b"HTTP/1.0", b"HTTP/9.9", b"Connection: close\r\n", b"Content-Length: 5\r\n", b"A" * 70_000),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n"),
    *(b"Content-Length: 99999999999999999999\r\n", b"Host: other\r\n", b"X: y\r\n" * 120, b"0\r\n"),
    *(b"-1\r\n", b"Cookie: a=\xe9\r\n", b"Origin: null\r\n", b"X-Request-ID: \x7f\r\n", b"#"),
]


@case(45, "bytes that are nearly requests", compared=False)
async def nearly(target: Target) -> list[Figure]:
    """Send requests with their bytes changed, in pieces, cut and reset; others ask meanwhile."""
    seconds = target.length(60, 6)
    async with target.start(CACHE_LOCAL_MIB="1") as running:  # changed targets are new pages
        pids = await running.pids()
        before = rss_bytes(pids)
        until = time.monotonic() + seconds
        senders = [_send(running, until, random.Random(number)) for number in range(AT_ONCE)]
        *sent, refused = await asyncio.gather(*senders, _failures(running, until))
        left = await _left(running)
        grown = (rss_bytes(pids) - before) / 2**20 if await running.pids() == pids else 0.0
        faults = _faults(running.log)
        renewed = await running.pids() != pids
    return [
        timed(at_least("connections", sum(sent), 20 * seconds)),
        exactly("faults in the log", faults, ""),
        exactly("others without a 200", refused, 0),
        exactly("workers that ended", str(renewed), "False"),
        exactly("connections left", left, 0),
        at_most("RSS growth of both", grown, RSS_MIB_MAX, " MiB"),
    ]


async def _send(running: Running, until: float, chance: random.Random) -> int:
    """Open one connection after the other; return how many."""
    count = 0
    while time.monotonic() < until:
        count += 1
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            connection = await Connection.open(running.address)
            try:
                for piece in _pieces(_changed(chance), chance):
                    connection.writer.write(piece)
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))
                if chance.random() < 0.2:  # noqa: PLR2004 - some
                    connection.writer.write_eof()
                if chance.random() < 0.8:  # noqa: PLR2004 - most
                    async with asyncio.timeout(READ_SECONDS):
                        await connection.reader.read()
            finally:
                if chance.random() < 0.3:  # noqa: PLR2004 - some reset it
                    connection.writer.transport.abort()
                connection.close()
    return count


def _changed(chance: random.Random) -> bytes:
    """Return some requests, one behind the other, with up to four changes."""
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.choice([1, 1, 1, 2, 3]))))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(TOKENS)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                data[at:at] = data[max(0, at - chance.randrange(60)) : at]
            case _:
                del data[at:]
    return bytes(data)


def _pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 5])))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def _failures(running: Running, until: float) -> int:
    """Ask as everybody does; return how often that was not answered with 200."""
    failed = 0
    while time.monotonic() < until:
        try:
            failed += (await running.get("/chaos/ping")).status != 200  # noqa: PLR2004
        except (OSError, EOFError, TimeoutError):
            failed += 1
        await asyncio.sleep(0.02)
    return failed


async def _left(running: Running) -> int:
    """Return how many connections workers still hold, all of them being closed."""
    until = time.monotonic() + GONE_SECONDS
    while True:
        answer = await running.get("/workers", admin=True)
        left = sum(row["connections"] for row in json.loads(answer.body)["workers"])
        if not left or time.monotonic() > until:
            return int(left)
        await asyncio.sleep(0.2)


def _faults(log: str) -> str:
    """Return what the log calls an error, or shows a trace of."""
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    found = {
        f"{record['event']} {str(record.get('exception', '')).splitlines()[-1:]}"
        for record in records
        if record["level"] in {"error", "critical"} or "exception" in record
    }
    return "; ".join(sorted(found))
