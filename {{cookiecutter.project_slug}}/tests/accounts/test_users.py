import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from servekit.testing import both_databases, patience
from service.accounts import passwords, users as module
from service.accounts.users import UsernameTakenError, Users, password_threads


@pytest.fixture
async def users(database) -> AsyncIterator[Users]:
    async with password_threads(CollectorRegistry()) as threads:
        yield Users(database=database, threads=threads)


@both_databases
async def test_a_user_is_known_by_name_and_password_alone(users):
    ada = await users.create("ada", "correct horse")
    assert await users.authenticate("ada", "correct horse") == ada
    assert await users.authenticate("ada", "wrong") is None
    assert await users.authenticate("bob", "correct horse") is None


@both_databases
async def test_of_two_who_want_a_name_at_once_one_gets_it(users):
    results = await asyncio.gather(
        users.create("ada", "first one"), users.create("ada", "second"), return_exceptions=True
    )
    assert sum(isinstance(result, UsernameTakenError) for result in results) == 1


async def test_an_unknown_name_is_verified_as_a_known_one_is(users, monkeypatch):
    verified = []
    monkeypatch.setattr(module, "verify_password", lambda *given: verified.append(given))
    await users.authenticate("nobody", "password")
    [(password, hashed)] = verified
    assert password == "password"
    assert hashed.startswith("scrypt$")


async def test_the_loop_goes_on_while_a_password_is_hashed(users, monkeypatch):
    monkeypatch.setattr(passwords, "COST", 2**14)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await users.create("ada", "correct horse")
    ticking.cancel()
    assert ticks >= 5


async def test_few_passwords_are_hashed_at_once_whoever_asks(users, monkeypatch):
    running = most = 0

    def hashing(*_: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return passwords.unmatched_hash()

    monkeypatch.setattr(module, "hash_password", hashing)
    await asyncio.gather(*(users.create(f"user{number}", "secret") for number in range(8)))
    assert most == module.HASHES_AT_ONCE


async def test_who_gives_up_leaves_no_room_while_his_password_is_still_hashed(users, monkeypatch):
    begun, end = [], threading.Event()

    def hashing(password: str) -> str:
        begun.append(password)
        end.wait(patience(30))
        return passwords.unmatched_hash()

    monkeypatch.setattr(module, "hash_password", hashing)
    for number in range(4):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(users.create(f"user{number}", str(number)), 0.1)
    assert begun == ["0", "1"]
    end.set()
