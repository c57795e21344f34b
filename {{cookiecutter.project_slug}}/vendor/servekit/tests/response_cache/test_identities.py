"""No answer crosses: two users and nobody, every way to read who asks, two workers, one Redis."""

import asyncio
import random
from base64 import b64encode
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions

from servekit.cache.cache import Cache
from servekit.routing.compiled import compile_router
from servekit.sessions.layer import SessionDep, SessionMiddleware
from servekit.sessions.store import SessionStore
from tests.asgi import call
from tests.redis.patient import patient_clients
from tests.response_cache.placed import of, placed
from tests.response_cache.ways import BY_HAND, DECLARED, LEAVING, ways

AS_IN_KEY = [f"query by url in {position}" for position in BY_HAND]
"""A page's own URL is without what its route does not declare, for the page answers others too."""
USERS = ("ada-7d1c", "eve-91b4")


def request_of(user, cookie):
    """What a user's request holds, everywhere that one can be told from another."""
    if user is None:
        return {}
    basic = b64encode(f"{user}:x".encode()).decode()
    headers = [
        ("x-user", user),
        ("cookie", f"user={user}; lang=en; {cookie}"),
        ("x-forwarded-for", user),
        ("user-agent", user),
    ]
    return {
        "headers": headers,
        "query_string": f"user={user}".encode(),
        "client": (user, 1),
        "http_version": user,
        "extensions": {"tls": {"client_cert_name": user}},
        "schemes": [f"Bearer {user}", f"Basic {basic}"],
    }


async def ask(layer, way, number, user, cookie):
    """Return an answer's whole text; each way has a host of its own."""
    given = request_of(user, cookie)
    schemes = given.pop("schemes", None)
    headers = [("host", f"way-{number}.test"), *given.pop("headers", ())]
    if schemes:
        headers.append(("authorization", schemes["HTTPBasic" in way.name]))
    try:  # in a context of its own, as servers have it
        answer = await asyncio.create_task(call(layer, "/", headers=headers, **given))
    except Exception as error:  # noqa: BLE001 - a server would answer 500
        return f"500 {error!r}"
    return f"{answer.status} {answer.headers} {answer.body.decode()}"


def crossed(text, user):
    """The users that an answer tells of, and that did not ask."""
    return [other for other in USERS if other != user and other in text]


@asynccontextmanager
async def two_workers(redis_url):
    """Two caches over one Redis, and the sessions with the cookie of each user's."""
    async with patient_clients(redis_url) as one, patient_clients(redis_url) as two:
        store = SessionStore(one, secret_keys=["key-of-the-tests"])
        async with Cache(one) as first, Cache(two) as second:
            while not (first.coherent and second.coherent):  # noqa: ASYNC110 - Redis says when
                await asyncio.sleep(0.005)
            yield (first, second), store


async def log_in_all(store):
    app = FastAPI()

    @app.post("/{user}")
    async def log_in(user: str, session: SessionDep) -> None:
        await session.login(user)

    layer = SessionMiddleware(app, store=store, secure=False)
    cookies: dict[str | None, str] = {None: ""}
    for user in USERS:
        answer = await call(layer, f"/{user}", "POST")
        cookies[user] = answer.headers[b"set-cookie"].decode().partition(";")[0]
    return cookies


def told(text, user):
    """Whether an answer is what its user was to be told: its status, and whether it names him."""
    return text[:3], user is not None and user in text


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("position", [*BY_HAND, *LEAVING, *DECLARED])
async def test_each_gets_the_answer_that_plain_fastapi_gives_him_and_nobody_gets_anothers(
    redis_url, position, compiled, outside
):
    shuffle = random.Random(position).shuffle
    crossing, other = [], []
    async with two_workers(redis_url) as (caches, store):
        cookies = await log_in_all(store)
        for number, way in enumerate(ways(position)):
            if number % 2 or "starlette" in way.name:
                way.app.add_middleware(StarletteSessions, secret_key="k", session_cookie="s")
            plain = SessionMiddleware(of(way.app), store=store, secure=False)
            expected = {
                user: told(await ask(plain, way, number, user, cookies[user]), user)
                for user in cookies
            }
            if compiled:
                assert compile_router(way.app.router) is not None
            layers = [placed(way.app, cache, store, outside=outside) for cache in caches]
            callers = [*USERS, None] * 5
            shuffle(callers)

            async def visit(turn, way=way, layers=layers, callers=callers, number=number):
                user = callers[turn]
                text = await ask(layers[turn % 2], way, number, user, cookies[user])
                return user, text

            answers = [await visit(0)]  # of the first, whoever that is, something may be kept
            answers += await asyncio.gather(*map(visit, range(len(callers))))
            crossing += [(way.name, user, text) for user, text in answers if crossed(text, user)]
            other += [
                (way.name, user, text, expected[user])
                for user, text in answers
                if told(text, user) != expected[user] and way.name not in AS_IN_KEY
            ]

    assert crossing == []
    assert other == []


def test_the_ways_are_many():
    count = sum(len(list(ways(position))) for position in (*BY_HAND, *LEAVING, *DECLARED))

    assert count * 16 > 10_000
