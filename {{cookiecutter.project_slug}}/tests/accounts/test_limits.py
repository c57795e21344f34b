import asyncio

import httpx2
import pytest

from servekit.testing import patience
from service.accounts import limits
from tests.accounts.test_routes import ADA

WRONG = ADA | {"password": "wrong"}


@pytest.fixture
def at(running_app):
    """Return a function that makes a client with an address of its own."""

    def at(address: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(running_app, client=(address, 5000))
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost")

    return at


@pytest.fixture
async def ada(at):
    async with at("192.0.2.1") as home:
        assert (await home.post("/users", json=ADA)).status_code == 201


async def statuses(client, credentials, times):
    return [(await client.post("/session", json=credentials)).status_code for _ in range(times)]


async def test_a_password_cannot_be_guessed_by_trying_on(at, ada):
    async with at("203.0.113.7") as attacker:
        assert await statuses(attacker, WRONG, 7) == [401] * 5 + [429] * 2
        refused = await attacker.post("/session", json=ADA)  # the right one, too late

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_many_names_from_one_address_are_one_guesser(at):
    async with at("2001:db8::1") as one, at("2001:db8::2") as neighbour:
        names = [WRONG | {"username": f"user{number}"} for number in range(12)]
        answers = [(await one.post("/session", json=name)).status_code for name in names[:10]]
        assert answers == [401] * 10
        assert await statuses(neighbour, names[10], 1) == [429]  # of the same network


async def test_good_logins_do_not_count(at, ada):
    async with at("203.0.113.7") as client:
        assert await statuses(client, ADA, 12) == [200] * 12


async def test_logins_at_once_are_bounded_before_a_password_is_hashed(at, ada):
    async with at("203.0.113.7") as attacker:
        attempts = [attacker.post("/session", json=WRONG) for _ in range(24)]
        answers = [answer.status_code for answer in await asyncio.gather(*attempts)]
    assert sorted(answers) == [401] * 5 + [429] * 19


async def test_many_addresses_lock_nobody_out_of_where_he_was_before(at, ada):
    """The user's own place is known; from a new one he waits until the window empties."""
    for number in range(12):
        async with at(f"203.0.113.{number}") as attacker:
            await statuses(attacker, WRONG, 5)
    async with at("203.0.113.99") as elsewhere, at("192.0.2.1") as home:
        assert await statuses(elsewhere, ADA, 1) == [429]
        assert await statuses(home, ADA, 1) == [200]


async def test_what_was_refused_prolongs_nothing(at, ada, monkeypatch):
    monkeypatch.setattr(limits.BY_USER_AND_ADDRESS, "seconds", 1)
    async with at("203.0.113.7") as client:
        await statuses(client, WRONG, 5)
        async with asyncio.timeout(patience(30)):
            while await statuses(client, ADA, 1) != [200]:  # noqa: ASYNC110 - Redis' clock decides
                await asyncio.sleep(0.05)


async def test_registrations_of_one_address_are_bounded(at):
    async with at("203.0.113.7") as client:
        users = [ADA | {"username": f"user{number}"} for number in range(21)]
        answers = [(await client.post("/users", json=user)).status_code for user in users]
    assert answers == [201] * 20 + [429]
