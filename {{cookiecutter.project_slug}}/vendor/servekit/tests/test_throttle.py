"""Attempts are counted over all workers, and in none that is refused, forgiven or another's."""

import asyncio
import contextlib

import pytest
from fastapi import HTTPException

from servekit import throttle as module
from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.scope import current_service
from servekit.testing import patience
from servekit.throttle import Throttle, attempt
from tests.redis.patient import patient_clients


class Worker:
    def __init__(self, redis: RedisClients) -> None:
        self.redis = redis


@contextlib.contextmanager
def inside(clients):
    token = current_service.set(Worker(clients))
    yield
    current_service.reset(token)


@pytest.fixture
async def clients(redis_url):
    async with patient_clients(redis_url) as clients:
        yield clients


@pytest.fixture
def _current(clients):
    with inside(clients):
        yield


def is_told_when_to_come_back(refusal):
    assert refusal.headers is not None
    return refusal.status_code == 429 and int(refusal.headers["Retry-After"]) >= 1


async def passes(*limits, good=False):
    """Try something; return whether it was let through."""
    try:
        async with attempt(*limits) as current:
            if good:
                current.succeeded()
    except HTTPException as refusal:
        return not is_told_when_to_come_back(refusal)
    return True


async def test_workers_let_exactly_as_many_through_together(redis_url):
    async with patient_clients(redis_url) as a, patient_clients(redis_url) as b:
        throttles = [Throttle("x", attempts=7, seconds=60) for _ in range(2)]

        async def one(turn):
            with inside((a, b)[turn % 2]):
                return await passes(throttles[turn % 2].of("ada"))

        assert sum(await asyncio.gather(*(one(turn) for turn in range(40)))) == 7


@pytest.mark.usefixtures("_current")
async def test_keys_are_told_apart_and_nothing_but_hashes_is_stored(clients):
    throttle = Throttle("x", attempts=1, seconds=60)
    for key in (("ada",), ("bob",), ("a", "bc"), ("ab", "c"), ("abc",), ("", "abc"), ("abc", "")):
        assert await passes(throttle.of(*key))
        assert not await passes(throttle.of(*key))
    assert not any(b"ada" in key for key in await clients.sessions.keys("*"))


@pytest.mark.usefixtures("_current")
async def test_what_succeeded_does_not_count_and_what_failed_with_an_error_does():
    limit = Throttle("x", attempts=2, seconds=60).of("ada")
    for _ in range(5):
        assert await passes(limit, good=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"):
            async with attempt(limit):
                raise ValueError("wrong")
    assert not await passes(limit)


@pytest.mark.usefixtures("_current")
async def test_while_it_runs_an_attempt_counts():
    limit = Throttle("x", attempts=1, seconds=60).of("ada")
    async with attempt(limit) as current:
        assert not await passes(limit)
        current.succeeded()
    assert await passes(limit)


@pytest.mark.usefixtures("_current")
async def test_one_that_another_limit_refuses_is_counted_nowhere():
    wide = Throttle("wide", attempts=2, seconds=60)
    narrow = Throttle("narrow", attempts=1, seconds=60)
    assert await passes(wide.of("a"), narrow.of("a"))
    for _ in range(5):
        assert not await passes(wide.of("a"), narrow.of("a"))
    assert await passes(wide.of("a"))


@pytest.mark.usefixtures("_current")
async def test_whoever_goes_on_trying_is_let_through_when_the_window_has_passed():
    limit = Throttle("x", attempts=2, seconds=1).of("ada")
    async with asyncio.timeout(patience(10)):
        passed = 0
        while passed < 6:
            passed += await passes(limit)
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("_current")
async def test_a_known_key_is_known_for_a_while():
    throttle = Throttle("x", attempts=1, seconds=60)
    assert not await throttle.knows("ada", "home")
    await throttle.remember("ada", "home", seconds=60)
    assert await throttle.knows("ada", "home")
    assert not await throttle.knows("ada", "elsewhere")


async def test_without_redis_each_worker_counts():
    async with RedisClients("redis://127.0.0.1:1") as dead:
        with inside(dead):
            throttle = Throttle("x", attempts=3, seconds=60)
            assert [await passes(throttle.of("ada")) for _ in range(5)] == [True] * 3 + [False] * 2
            await throttle.remember("ada", seconds=60)
            assert not await throttle.knows("ada")


@pytest.mark.parametrize("away", [False, True])
async def test_what_succeeded_does_not_count_whatever_comes_after_it(clients, monkeypatch, away):
    throttle = Throttle("good", attempts=2, seconds=60)

    async def refuse(*_, **__):
        raise StoreUnavailable("away")

    if away:
        monkeypatch.setattr(module, "HIT", refuse)
    with inside(clients):
        for _ in range(6):
            with contextlib.suppress(ZeroDivisionError):
                async with attempt(throttle.of("ada")) as current:
                    current.succeeded()
                    raise ZeroDivisionError
