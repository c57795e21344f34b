"""Without its session store the service answers what needs none, and takes nobody for another."""

from __future__ import annotations

import asyncio

from chaos.cases.redis_faults import ENVIRON, RATE, apply, end, read
from chaos.faults.redis_servers import toxic_redis
from chaos.report import Figure, at_least, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.client import Answer, Connection, Request
from chaos.traffic.load import Outcome

USERS = 20
KNOWN_SECONDS = 1.2
"""Time in which silence is found out: a worker's copies of sessions are good until then."""

OK, UNAVAILABLE = 200, 503
ANONYMOUS = [
    Request("/livez"),
    Request("/chaos/ping"),
    *[Request(f"/chaos/store/pages/{number}") for number in range(5)],
    *[Request(f"/chaos/store/items/{number}") for number in range(5)],
]


async def log_in(running: Running, user: str) -> str:
    """Log in and return the cookie."""
    connection = await Connection.open(running.address)
    try:
        answer = await connection.exchange(Request(f"/chaos/store/login/{user}", method="POST"))
    finally:
        connection.close()
    return answer.headers["set-cookie"].split(";")[0]


def me(cookie: str) -> Request:
    """Return the question who this cookie's user is."""
    return Request("/chaos/store/me", headers=(("Cookie", cookie),))


def strangers(outcome: Outcome, users: dict[str, str]) -> int:
    """Return how many were answered as somebody else."""
    return sum(
        one.answer is not None
        and one.status == OK
        and not is_of(one.answer, users[one.request.headers[0][1]])
        for one in outcome.samples
        if one.request.headers
    )


def is_of(answer: Answer, user: str) -> bool:
    """Return whether an answer names this user."""
    return f'"{user}"'.encode() in answer.body


def share(outcome: Outcome, status: int) -> float:
    """Return the share of answers with a status."""
    return outcome.statuses[status] / max(len(outcome.samples), 1)


@case(15, "session store down")
async def session_store_down(target: Target) -> list[Figure]:
    """Refuse, then be silent, with users logged in."""
    figures = []
    for fault in ("refused", "silent"):
        figures += await _without_store(target, fault)
    return figures


async def _without_store(target: Target, fault: str) -> list[Figure]:
    seconds = target.pace(8, 3)
    async with (
        toxic_redis() as (proxy, _),
        target.start(ENVIRON, REDIS_URL=proxy.url) as running,
    ):
        users = {await log_in(running, f"user-{n}"): f"user-{n}" for n in range(USERS)}
        questions = [me(cookie) for cookie in users]
        await read(running, [*ANONYMOUS, *questions], seconds=3)
        await apply(fault, proxy)
        anonymous, asked, logins = await asyncio.gather(
            read(running, ANONYMOUS, seconds=seconds, rate=RATE / 2),
            read(running, questions, seconds=seconds, rate=RATE / 4),
            read(running, [Request("/chaos/store/login/eve", method="POST")], seconds=2, rate=10),
        )
        await end(fault, proxy)
        await asyncio.sleep(3)
        after = await read(running, questions, seconds=2)
    late = asked.select(lambda one: one.scheduled > KNOWN_SECONDS)
    return [
        exactly(f"{fault}: anonymous and cached, answered", share(anonymous, OK), 1),
        exactly(f"{fault}: asked who they are, 503", share(late, UNAVAILABLE), 1),
        exactly(f"{fault}: logins, 503", share(logins, UNAVAILABLE), 1),
        exactly(f"{fault}: answered as somebody else", strangers(asked, users), 0),
        exactly(f"{fault}: back, answered as somebody else", strangers(after, users), 0),
        at_least(f"{fault}: back, known again", share(after, OK), 1),
    ]
