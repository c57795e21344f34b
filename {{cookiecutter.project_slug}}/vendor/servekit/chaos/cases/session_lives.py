"""Lives of sessions: every end is the server's decision, and holds on every worker at once."""

from __future__ import annotations

import asyncio
import json
import time

import redis.asyncio

from chaos.cases.sessions import OK, accepted
from chaos.report import Figure, at_least, at_most, case, exactly, timed
from chaos.targets import Running, Target
from chaos.traffic.browser import Browser, each_worker
from chaos.traffic.client import Connection
from servekit.redis.embedded import EmbeddedServer

LIFETIME = 60
"""Seconds; the least that the settings take."""

EARLY = 2.5
"""Seconds that a session may end before its idle time: a use is noted every thirtieth of it."""

PROMPT_SECONDS = 1.0
LIMIT, DEVICES = 10, 12
OLD_KEY, NEW_KEY = "old-" * 10, "new-" * 10

ANONYMOUS = [("GET", path) for path in ("/", "/products/1", "/session", "/chaos/fields", "/x")]
ANONYMOUS.append(("DELETE", "/session"))


@case(40, "lifetimes, limits, revoking, key rotation; 10,000 anonymous requests", own_app=True)
async def lives(target: Target) -> list[Figure]:
    """End sessions in every way there is, and start none for anonymous visitors."""
    waiting = [] if target.short else [_lifetimes(target)]
    figures = await asyncio.gather(*waiting, _revoking(target))
    return [
        *(one for some in figures for one in some),
        *await _key_rotation(target),
        *await _anonymous(target),
    ]


async def _lifetimes(target: Target) -> list[Figure]:
    """Let one session lie idle, and use another until its absolute lifetime is over."""
    life = str(LIFETIME)
    idle = target.start(SESSION_IDLE_SECONDS=life)
    absolute = target.start(SESSION_IDLE_SECONDS=life, SESSION_ABSOLUTE_SECONDS=life)
    async with idle as running_idle, absolute as running_absolute:
        results = await asyncio.gather(
            _lie_idle(running_idle), _use_until_refused(running_absolute)
        )
    idle_for, used_for = results
    return [
        at_least("seconds before an idle session ended", idle_for, LIFETIME - EARLY, " s"),
        timed(
            at_most(
                "seconds until an idle session ended", idle_for, LIFETIME + PROMPT_SECONDS, " s"
            )
        ),
        at_least("seconds before a used session ended", used_for, LIFETIME - 1, " s"),
        timed(
            at_most("seconds until a used session ended", used_for, LIFETIME + PROMPT_SECONDS, " s")
        ),
    ]


async def _lie_idle(running: Running) -> float:
    """Leave sessions alone; return the time after which one is refused.

    A look is a use, so there are some of the same age, each looked at once.
    """
    probes = [Browser(running) for _ in range(LIMIT)]
    for probe in probes:
        await probe.ask("POST", "/chaos/login/1")
    begin = time.monotonic()
    await asyncio.sleep(LIFETIME - EARLY)
    for probe in probes:
        if (await probe.ask("GET", "/session")).status != OK:
            return time.monotonic() - begin
        await asyncio.sleep((PROMPT_SECONDS + EARLY) / LIMIT)
    return float("inf")


async def _use_until_refused(running: Running) -> float:
    """Use a session four times a second, on every worker; return its age when all refused it."""
    user = Browser(running)
    async with each_worker(running) as workers:
        begin = time.monotonic()
        await user.ask("POST", "/chaos/login/1")
        while time.monotonic() - begin < LIFETIME + 2 * PROMPT_SECONDS:
            answers = [await user.ask("GET", "/session", on=each) for each in workers]
            if all(answer.status != OK for answer in answers):
                return time.monotonic() - begin
            await asyncio.sleep(0.25)
    return float("inf")


async def _revoking(target: Target) -> list[Figure]:
    """Log in on too many devices, list them, then end one and all from one of them."""
    started = target.start(SESSION_LIMIT_PER_USER=str(LIMIT))
    async with started as running, each_worker(running) as workers:
        devices = [Browser(running) for _ in range(DEVICES)]
        evicted: list[float] = []
        for number, device in enumerate(devices):
            await device.ask("POST", "/chaos/login/7")
            await accepted(running, device.cookie, workers)  # known to every worker now
            if number >= LIMIT:
                evicted.append(
                    await _until_refused(running, devices[number - LIMIT].cookie, workers)
                )
        living = [each for each in devices if await accepted(running, each.cookie, workers)]
        me, lost = devices[-1], devices[-2]
        listed = await _listed(me)
        await _end_session(me, lost)
        revoked = await _until_refused(running, lost.cookie, workers)
        others = len([each for each in living if await accepted(running, each.cookie, workers)])
        await me.ask("DELETE", "/sessions")
        everywhere = max([await _until_refused(running, each.cookie, workers) for each in living])
    return [
        timed(
            at_most("s until the oldest over the limit ended", max(evicted), PROMPT_SECONDS, " s")
        ),
        exactly(f"sessions alive after {DEVICES} logins", len(living), LIMIT),
        exactly("sessions listed", listed, LIMIT),
        timed(at_most("s until a revoked one ended", revoked, PROMPT_SECONDS, " s")),
        exactly("others alive after that", others, LIMIT - 1),
        timed(at_most("s until all ended", everywhere, PROMPT_SECONDS, " s")),
    ]


async def _listed(me: Browser) -> int:
    answer = await me.ask("GET", "/sessions")
    return len(json.loads(answer.body)) if answer.status == OK else 0


async def _end_session(me: Browser, lost: Browser) -> None:
    """End the session of another device, by the reference that its own list calls current."""
    answer = await lost.ask("GET", "/sessions")
    if answer.status == OK:
        [ref] = [one["id"] for one in json.loads(answer.body) if one["current"]]
        await me.ask("DELETE", f"/sessions/{ref}")


async def _until_refused(running: Running, cookie: str, workers: list[Connection]) -> float:
    """Return the seconds until no worker takes a cookie any more; infinite past three."""
    begin = time.monotonic()
    while time.monotonic() - begin < 3 * PROMPT_SECONDS:
        if not await accepted(running, cookie, workers):
            return time.monotonic() - begin
        await asyncio.sleep(0.01)
    return float("inf")


async def _key_rotation(target: Target) -> list[Figure]:
    """Sign with a new key, verify with both, then drop the old one."""
    with EmbeddedServer() as server:
        async with target.start(REDIS_URL=server.url, SECRET_KEY=OLD_KEY) as running:
            user, absent = Browser(running), Browser(running)
            for browser in (user, absent):
                await browser.ask("POST", "/chaos/login/1")
        old = absent.cookie
        both = f"{NEW_KEY},{OLD_KEY}"
        async with target.start(REDIS_URL=server.url, SECRET_KEY=both) as running:
            user = Browser(running, user.cookie)
            kept = (await user.ask("GET", "/session")).status
            signed_anew = user.cookie != old and bool(user.cookie)
        async with target.start(REDIS_URL=server.url, SECRET_KEY=NEW_KEY) as running:
            moved = (await Browser(running, user.cookie).ask("GET", "/session")).status
            dropped = (await Browser(running, old).ask("GET", "/session")).status
    return [
        exactly("old key's cookie beside the new key", kept, OK),
        exactly("and it is signed anew", str(signed_anew), "True"),
        exactly("that one without the old key", moved, OK),
        exactly("old key's cookie without the old key", dropped, 401),
    ]


async def _anonymous(target: Target) -> list[Figure]:
    """Visit without logging in, and count what that leaves."""
    count = int(target.pace(10_000, 600))
    cookies = 0
    with EmbeddedServer() as server:
        async with target.start(REDIS_URL=server.url) as running:
            turns = iter(range(count))

            async def visit() -> None:
                nonlocal cookies
                connection = await Connection.open(running.address)
                for turn in turns:
                    browser = Browser(running)
                    method, path = ANONYMOUS[turn % len(ANONYMOUS)]
                    await browser.ask(method, path, on=connection)
                    cookies += bool(browser.cookie)
                connection.close()

            await asyncio.gather(*(visit() for _ in range(16)))
            client = redis.asyncio.Redis.from_url(server.url)
            keys = len([key async for key in client.scan_iter("session*", count=5000)])
            await client.aclose()
    return [
        exactly(f"keys after {count} anonymous requests", keys, 0),
        exactly("cookies handed to them", cookies, 0),
    ]
