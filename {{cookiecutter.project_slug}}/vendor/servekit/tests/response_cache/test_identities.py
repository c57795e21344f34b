"""No answer crosses: two users and nobody, every way to read who asks, two workers, one Redis."""

import asyncio
import random
from base64 import b64encode
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions

from servekit.cache.cache import Cache
from servekit.response_cache.layer import ResponseCacheMiddleware
from servekit.routing.compiled import compile_router
from servekit.sessions.layer import SessionDep, SessionMiddleware
from servekit.sessions.store import SessionStore
from tests.asgi import call, routes_of
from tests.redis.patient import patient_clients
from tests.response_cache.ways import BY_HAND, DECLARED, ways

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
    try:
        answer = await call(layer, "/", headers=headers, **given)
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


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("position", [*BY_HAND, *DECLARED])
async def test_no_answer_of_one_user_reaches_another_or_nobody(redis_url, position, compiled):
    shuffle = random.Random(position).shuffle
    found, without_own, refused = [], [], set()
    async with two_workers(redis_url) as (caches, store):
        cookies = await log_in_all(store)
        for number, way in enumerate(ways(position)):
            way.app.add_middleware(StarletteSessions, secret_key="k", session_cookie="s")
            if compiled:
                assert compile_router(way.app.router) is not None
            inside = SessionMiddleware(way.app, store=store, secure=False)
            layers = [
                ResponseCacheMiddleware(inside, cache=cache, routes=routes_of(way.app))
                for cache in caches
            ]
            callers = [*USERS, None] * 5
            shuffle(callers)

            async def visit(turn, way=way, layers=layers, callers=callers, number=number):
                user = callers[turn]
                text = await ask(layers[turn % 2], way, number, user, cookies[user])
                return user, text

            answers = [await visit(0)]  # of the first, whoever that is, something may be kept
            answers += await asyncio.gather(*map(visit, range(len(callers))))
            found += [(way.name, user, text) for user, text in answers if crossed(text, user)]
            refused |= {text for _, text in answers if "HiddenField" in text}
            without_own += [
                (way.name, user, text)
                for user, text in answers
                if way.is_declared and user is not None and user not in text
            ]

    assert found == []
    assert without_own == []
    assert bool(refused) == (position in BY_HAND)


def test_the_ways_are_many():
    count = sum(len(list(ways(position))) for position in (*BY_HAND, *DECLARED))

    assert count * 16 > 10_000
