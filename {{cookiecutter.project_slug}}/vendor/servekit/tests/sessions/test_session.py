from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, SecretStr, computed_field
from pydantic.alias_generators import to_camel

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


class Colour(Enum):
    RED = "red"


class Camel(BaseModel, alias_generator=to_camel):
    unit_price: int = 0
    sold_at: date


class Strict(BaseModel, strict=True):
    at: date
    colour: Colour
    mark: UUID
    pair: tuple[int, str]


class Sum(BaseModel, extra="forbid"):
    items: list[int]

    @computed_field
    def total(self) -> int:
        return sum(self.items)


DAY = date(2026, 5, 1)
FORMS: list[tuple[Any, Any]] = [
    (Camel, Camel.model_validate({"unitPrice": 7, "soldAt": DAY})),
    (Strict, Strict(at=DAY, colour=Colour.RED, mark=UUID(int=7), pair=(1, "x"))),
    (Sum, Sum(items=[1, 2])),
    (int | None, None),
    (set[date], {DAY}),
    (dict[int, str], {7: "x"}),
]


@pytest.mark.parametrize(("kind", "value"), FORMS)
async def test_a_value_of_any_form_comes_back_as_it_went(session, kind, value):
    key = SessionKey("any", kind, default=value)
    assert key.get(session) == value
    key = SessionKey("any", kind | int, default=5)
    key.set(session, value)
    assert key.get(session) == value


class Guarded(BaseModel):
    token: SecretStr


class Excluding(BaseModel):
    hidden: int = Field(default=0, exclude=True)


@pytest.mark.parametrize("kind", [SecretStr, Guarded, list[Guarded], dict[str, SecretStr] | None])
def test_a_secret_is_refused_as_it_would_come_back_as_asterisks(kind):
    with pytest.raises(TypeError, match="'any' cannot be kept in a session: a secret"):
        SessionKey("any", kind, default=None)


def test_so_is_a_field_that_would_be_left_out():
    with pytest.raises(TypeError, match="'hidden' is excluded"):
        SessionKey("any", Excluding, default=Excluding())


@pytest.mark.parametrize("value", [{1, 2}, Excluding(), b"", object()])
async def test_a_value_that_has_no_json_is_refused_with_the_remedy(session, value):
    with pytest.raises(TypeError, match=r"'any' cannot be kept in a session: .*a `SessionKey`"):
        session["any"] = value
    with pytest.raises(TypeError, match=r"'any' cannot be kept in a session: .*a `SessionKey`"):
        await session.login("7", any=value)
    assert "any" not in session
