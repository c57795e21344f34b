"""Sessions: whoever plants, replays or races an id gains nothing, and nobody else loses."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator

from chaos.report import Figure, at_most, case, exactly, timed
from chaos.targets import Running, Target
from chaos.traffic.browser import Browser, each_worker
from chaos.traffic.client import Connection

OK, UNAUTHORIZED = 200, 401
GRACE_SECONDS = 10.0
CREDENTIALS = {"username": "ada", "password": "correct horse battery"}
WRITERS = 50
AT_ONCE = 10
WRITE_SECONDS = 0.02
PATIENT = {"TIMEOUT_SESSION_MS": "5000", "PRESSURE_LOOP_LAG_MS": "0"}
"""A 503 would be counted as an update lost, or as a session that is none."""


async def accepted(running: Running, cookie: str, workers: list[Connection]) -> int:
    """Return how many workers take a cookie for that of a logged-in user."""
    answers = [await Browser(running, cookie).ask("GET", "/session", on=each) for each in workers]
    return sum(answer.status == OK for answer in answers)


@case(37, "planted id, login, re-login, privilege change, logout", own_app=True)
async def ids(target: Target) -> list[Figure]:
    """Walk a session through its life with the example's routes, and try every id it leaves."""
    async with target.start() as running, each_worker(running) as workers:
        planted = await _planted_ids(running)
        await Browser(running).ask("POST", "/users", data=CREDENTIALS)
        adopted = 0
        for cookie in planted:
            victim = Browser(running, cookie)
            await victim.ask("POST", "/session", data=CREDENTIALS)
            adopted += victim.cookie == cookie or bool(await accepted(running, cookie, workers))
        steps = [("POST", "/session"), ("POST", "/session"), ("POST", "/chaos/privilege")]
        user, left = Browser(running, planted[0]), []
        for method, path in steps:
            left.append(user.cookie)
            await user.ask(method, path, data=CREDENTIALS)
        kept = sum(before == after for before, after in itertools.pairwise([*left, user.cookie]))
        held = await _seconds_accepted(running, left[-1], workers)
        logged_in = await accepted(running, user.cookie, workers)
        left += await _log_out(user)
        late = sum([bool(await accepted(running, cookie, workers)) for cookie in left])
    return [
        exactly(f"planted ids adopted, of {len(planted)}", adopted, 0),
        exactly("logins and changes that kept the id, of 3", kept, 0),
        timed(at_most("old id accepted after the change", held, GRACE_SECONDS, " s")),
        exactly("workers that know the new id, of 2", logged_in, 2),
        exactly(f"ids accepted after logout, of {len(left)}", late, 0),
    ]


async def _planted_ids(running: Running) -> list[str]:
    """Return a real id of an anonymous session, and two that were made up."""
    attacker = Browser(running)
    await attacker.ask("PUT", "/chaos/field/planted")
    return [attacker.cookie, "A" * len(attacker.cookie), "planted"]


async def _seconds_accepted(running: Running, cookie: str, workers: list[Connection]) -> float:
    """Return for how long any worker goes on to accept an id that was replaced just now."""
    begin, last = time.monotonic(), 0.0
    while (asked := time.monotonic() - begin) < GRACE_SECONDS + 1:
        if not await accepted(running, cookie, workers):
            return last
        last = asked
        await asyncio.sleep(0.1)
    return float("inf")


async def _log_out(user: Browser) -> list[str]:
    """Change the id once more, so that one is in its grace time, then log out; return both."""
    before = user.cookie
    await user.ask("POST", "/chaos/privilege")
    left = [before, user.cookie]
    await user.ask("DELETE", "/session")
    return left


@case(38, "50 parallel writes; logout against a slow request", own_app=True)
async def races(target: Target) -> list[Figure]:
    """Write from many requests at once, then let logouts overtake requests that are to write."""
    rounds = int(target.pace(10, 3))
    logouts = int(target.pace(1000, 100))
    async with target.start(PATIENT) as running:
        lost = 0
        for number in range(rounds):
            lost += await _parallel_writes(running, number)
        watched = Browser(running)
        await watched.ask("POST", "/chaos/login/1")
        stop = asyncio.Event()
        bystander = asyncio.create_task(_false_refusals(watched, stop))
        revived = refused = 0
        turns = iter(range(logouts))
        for results in await asyncio.gather(
            *(_race_logouts(running, turns) for _ in range(AT_ONCE))
        ):
            revived += results[0]
            refused += results[1]
        stop.set()
        refused += await bystander
    return [
        exactly(f"lost updates, of {rounds * WRITERS}", lost, 0),
        exactly(f"sessions alive after logout, of {logouts}", revived, 0),
        exactly("false 401", refused, 0),
    ]


async def _parallel_writes(running: Running, number: int) -> int:
    """Write 50 fields of one session at once; return how many are missing then."""
    browser = Browser(running)
    await browser.ask("POST", f"/chaos/login/{100 + number}")
    paths = [f"/chaos/field/f{field}?seconds={WRITE_SECONDS}" for field in range(WRITERS)]
    # One jar, as in a browser; each request starts with the cookie as it was.
    await asyncio.gather(*(browser.ask("PUT", path) for path in paths))
    names = (await browser.ask("GET", "/chaos/fields")).body.decode()
    return sum(f'"f{field}"' not in names for field in range(WRITERS))


async def _race_logouts(running: Running, turns: Iterator[int]) -> tuple[int, int]:
    """Take turns; return how many sessions were revived, and false refusals on the way."""
    revived = refused = 0
    for turn in turns:
        browser = Browser(running)
        await browser.ask("POST", f"/chaos/login/{1000 + turn}")
        refused += await _refused_at_rotation(running, browser)
        cookie = browser.cookie
        slow = Browser(running, cookie)
        writing = asyncio.create_task(slow.ask("PUT", f"/chaos/field/late?seconds={WRITE_SECONDS}"))
        await asyncio.sleep(random.uniform(0, WRITE_SECONDS * 1.5))
        await browser.ask("DELETE", "/session")
        await writing
        asked = [Browser(running, each).ask("GET", "/session") for each in {cookie, slow.cookie}]
        revived += any(each.status != UNAUTHORIZED for each in await asyncio.gather(*asked))
    return revived, refused


async def _refused_at_rotation(running: Running, browser: Browser) -> int:
    """Change the id while another request carries the old one; that one must not be refused."""
    other = Browser(running, browser.cookie)
    _, answer = await asyncio.gather(
        browser.ask("POST", "/chaos/privilege"), other.ask("GET", "/session")
    )
    return int(answer.status != OK)


async def _false_refusals(browser: Browser, stop: asyncio.Event) -> int:
    """Ask as a user whom nothing of all this concerns; return how often that was refused."""
    refused = 0
    while not stop.is_set():
        refused += (await browser.ask("GET", "/session")).status != OK
        await asyncio.sleep(0.005)
    return refused
