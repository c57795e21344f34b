from datetime import date

import pytest
from pydantic import BaseModel

from servekit.redis.clients import RedisClients
from servekit.sessions.cookie import SessionCookie
from servekit.sessions.session import Session
from servekit.sessions.session_key import SessionKey
from servekit.sessions.store import SessionStore


class Basket(BaseModel):
    items: list[int] = []
    since: date = date(2026, 1, 1)


BASKET = SessionKey("basket", Basket, default=Basket())


@pytest.fixture
async def session():
    """A visitor's session: it is empty, and no write reaches a store before a commit."""
    async with RedisClients("redis://127.0.0.1:1") as clients:
        store = SessionStore(clients, secret_keys=["key-of-the-tests"])
        yield await Session(store, SessionCookie(store.signer), {"headers": []}).load()


async def test_a_field_comes_back_in_its_type(session):
    BASKET.set(session, Basket(items=[7], since=date(2026, 5, 1)))

    assert BASKET.get(session) == Basket(items=[7], since=date(2026, 5, 1))
    assert session["basket"] == {"items": [7], "since": "2026-05-01"}


async def test_an_absent_field_is_a_fresh_default_each_time(session):
    BASKET.get(session).items.append(7)

    assert BASKET.get(session) == Basket()


async def test_what_an_older_version_wrote_is_the_default(session):
    session["basket"] = ["another", "form"]

    assert BASKET.get(session) == Basket()


async def test_a_field_is_removed_whether_it_is_there_or_not(session):
    BASKET.set(session, Basket(items=[7]))
    BASKET.remove(session)
    BASKET.remove(session)

    assert "basket" not in session
