"""Ids of sessions: not to be guessed, not to be forged, and not to be read from Redis."""

from __future__ import annotations

import asyncio
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import redis.asyncio

from chaos.report import Figure, at_least, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.browser import Browser, request_of
from chaos.traffic.client import Answer, Connection
from servekit.redis.embedded import EmbeddedServer

OK, UNAUTHORIZED, SERVER_ERROR = 200, 401, 500
REFUSED = {UNAUTHORIZED, 431}
"""What a forged cookie may be answered; the second for one that fills the header block."""

CONNECTIONS = 16
LOOKED_UP = 1000
PATIENT = {"TIMEOUT_SESSION_MS": "5000", "PRESSURE_LOOP_LAG_MS": "0"}
"""Whoever is answered 503 gets no cookie."""
BIAS = 0.01
"""How far from one half a bit's share of ones may be: six standard deviations of 100,000."""


@case(39, "100,000 ids; tampered, truncated and 8 KiB cookies", own_app=True)
async def unguessable(target: Target) -> list[Figure]:
    """Collect ids as clients get them, look into Redis, and forge cookies in many ways."""
    count = int(target.pace(100_000, 2000))
    with EmbeddedServer() as server:
        async with target.start(PATIENT, REDIS_URL=server.url) as running:
            cookies = await _collect(running, count)
            figures = [exactly(f"duplicates, of {count}", count - len(set(cookies)), 0)]
            if not target.plain:
                figures += _randomness(cookies)
                figures += await _what_redis_holds(server.url, cookies)
            figures += await _forge(running)
    return figures


async def _collect(running: Running, count: int) -> list[str]:
    """Begin sessions and return their cookies."""
    cookies: list[str] = []
    turns = iter(range(count))

    async def collect() -> None:
        connection = await Connection.open(running.address)
        for _ in turns:
            browser = Browser(running)
            await browser.ask("PUT", "/chaos/field/a", on=connection)
            cookies.append(browser.cookie)
        connection.close()

    await asyncio.gather(*(collect() for _ in range(CONNECTIONS)))
    return cookies


def _raw(cookie: str) -> bytes:
    """Return the random bytes of a cookie: what stands before the signature."""
    return urlsafe_b64decode(cookie.split(".", maxsplit=1)[0])


def _randomness(cookies: list[str]) -> list[Figure]:
    """Count the bits of an id that look drawn: as often one as zero, over all ids."""
    raws = [_raw(cookie) for cookie in cookies]
    bias = BIAS * (100_000 / len(raws)) ** 0.5
    fair = 0
    for position in range(len(raws[0])):
        values = Counter(raw[position] for raw in raws)
        for bit in range(8):
            ones = sum(number for value, number in values.items() if value >> bit & 1)
            fair += abs(ones / len(raws) - 0.5) <= bias
    return [
        at_least("random bits of an id", fair, 128),
        exactly("bits that are not", len(raws[0]) * 8 - fair, 0),
    ]


async def _what_redis_holds(url: str, cookies: list[str]) -> list[Figure]:
    """Search all of Redis for what a thief could use."""
    client = redis.asyncio.Redis.from_url(url)
    keys = [key async for key in client.scan_iter("*:session:*", count=5000)]
    held = b"".join([b"\n".join(piece) async for piece in _dump(client, keys)])
    await client.aclose()
    sample = random.sample(cookies, LOOKED_UP)
    readable = sum(any(form in held for form in _forms(cookie)) for cookie in sample)
    return [
        exactly("sessions in Redis beside those ids", len(keys) - len(cookies), 0),
        exactly(f"ids that can be read in Redis, of {LOOKED_UP}", readable, 0),
    ]


async def _dump(client: Any, keys: list[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield keys and all they hold, as bytes."""
    for start in range(0, len(keys), 1000):
        some = keys[start : start + 1000]
        pipeline = client.pipeline(transaction=False)
        for key in some:
            pipeline.hgetall(key)
        records = await pipeline.execute()
        yield [*some, *(part for one in records for item in one.items() for part in item)]


def _forms(cookie: str) -> Iterable[bytes]:
    """Yield what an id's selector and secret could be stored as, were they not hashed."""
    raw = _raw(cookie)
    for part in (raw[:16], raw[16:]):
        yield from (part, part.hex().encode(), urlsafe_b64encode(part).rstrip(b"="))
    yield cookie.split(".", maxsplit=1)[0].encode()


async def _forge(running: Running) -> list[Figure]:
    """Ask with cookies that nobody handed out."""
    users = [Browser(running) for _ in range(2)]
    for number, browser in enumerate(users):
        await browser.ask("POST", f"/chaos/login/{number + 1}")
    good, other = (browser.cookie for browser in users)
    forged = list(_forgeries(good, other))
    answers = [await _ask(running, cookie) for cookie in forged]
    accepted = sum(one.status == OK for one in answers)
    errors = sum(one.status >= SERVER_ERROR for one in answers)
    strange = sum(one.status not in REFUSED for one in answers) - accepted - errors
    return [
        exactly("forged cookies accepted", accepted, 0),
        exactly("forged cookies answered with 5xx", errors, 0),
        exactly("forged cookies answered otherwise", strange, 0),
        exactly("the good cookie still holds", (await _ask(running, good)).status, OK),
    ]


def _forgeries(good: str, other: str) -> Iterator[str]:
    """Yield cookies made from good ones: each place altered, each length, mixed, long, odd."""
    for place, letter in enumerate(good):
        yield good[:place] + ("B" if letter != "B" else "C") + good[place + 1 :]
        yield good[:place]
        yield good[place + 1 :]
    yield good + "A"
    yield good + "="
    yield good.partition(".")[0] + "." + other.partition(".")[2]
    yield other.partition(".")[0] + "." + good.partition(".")[2]
    yield f"{good}; dev-session={other}"
    for size in (8192, 30_000):
        yield "A" * size
        yield good + "A" * (size - len(good))
    yield from ("null", "..", "%00", "é" * 8, good.swapcase(), '"' + good[:-1], "{}", "[]")


async def _ask(running: Running, cookie: str) -> Answer:
    connection = await Connection.open(running.address)
    try:
        return await connection.exchange(request_of("GET", "/session", cookie=cookie))
    finally:
        connection.close()
