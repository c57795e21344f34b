import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RawConnectionError, ResponseError

from servekit.errors import StoreUnavailable, WorkerBusy
from servekit.redis.command_budget import RedisBreaker, TimeLimit
from servekit.resilience.breaker import CLOSED, HALF_OPEN, OPEN
from servekit.testing import patience


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return RedisBreaker("cache", failures=3, open_seconds=1, open_seconds_max=4, clock=clock)


def call(breaker, error=None):
    with breaker:
        if error is not None:
            raise error


def break_it(breaker):
    for _ in range(3):
        with pytest.raises(RawConnectionError):
            call(breaker, RawConnectionError())


def test_failures_in_a_row_open_it(breaker):
    for _ in range(5):
        with pytest.raises(RawConnectionError):
            call(breaker, RawConnectionError())
        call(breaker)
    break_it(breaker)

    assert breaker.state == OPEN
    with pytest.raises(StoreUnavailable):
        call(breaker)


def test_a_probe_at_a_time_closes_it_or_opens_it_for_longer(breaker, clock):
    break_it(breaker)
    pauses = []
    for _ in range(5):
        start = clock.now
        while not breaker.allow():
            clock.now += 0.01
        assert breaker.state == HALF_OPEN
        assert not breaker.allow()
        breaker.failed()
        pauses.append(clock.now - start)

    assert pauses[0] <= 1.01
    assert 2 <= pauses[-1] <= 4.01
    clock.now += 4
    call(breaker)
    assert breaker.state == CLOSED


def test_a_suspicion_lets_a_single_call_find_out(breaker, clock):
    breaker.suspect()
    assert breaker.allow()
    assert not breaker.allow()
    breaker.succeeded()
    assert breaker.state == CLOSED

    break_it(breaker)
    breaker.suspect()
    assert not breaker.allow(), "what is known is not asked again"


def test_an_answer_that_is_an_error_is_an_answer(breaker):
    for _ in range(9):
        with pytest.raises(ResponseError):
            call(breaker, ResponseError("WRONGTYPE"))

    assert breaker.state == CLOSED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), WorkerBusy()])
def test_what_says_nothing_of_redis_does_not_count(breaker, error):
    for _ in range(9):
        with pytest.raises(type(error)):
            call(breaker, error)

    assert breaker.state == CLOSED


def test_a_probe_without_a_verdict_lets_the_next_one_try(breaker, clock):
    break_it(breaker)
    clock.now += 1
    with pytest.raises(KeyboardInterrupt):
        call(breaker, KeyboardInterrupt())

    call(breaker)
    assert breaker.state == CLOSED


def test_it_probes_at_once_when_redis_was_seen(breaker):
    break_it(breaker)
    breaker.probe_soon()

    call(breaker)
    assert breaker.state == CLOSED


async def time_out(seconds, *, server_replies):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(seconds, lambda: server_replies):
            await asyncio.sleep(5)
    return time.monotonic() - started


async def test_silence_ends_at_the_limit():
    assert 0.29 <= await time_out(0.3, server_replies=False) < patience(0.55)


async def test_a_server_that_replies_to_other_commands_has_twice_the_time():
    assert 0.55 <= await time_out(0.3, server_replies=True) < patience(2)


async def test_an_answer_that_waited_for_a_blocked_loop_is_taken():
    answer = asyncio.get_running_loop().create_future()
    async with TimeLimit(0.02, lambda: False):
        asyncio.get_running_loop().call_later(0.03, answer.set_result, "late")
        time.sleep(0.1)  # noqa: ASYNC251 - this is what it is about
        assert await answer == "late"


async def test_a_cancellation_from_outside_stays_one():
    async def work():
        async with TimeLimit(5, lambda: False):
            await asyncio.sleep(5)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_body_in_time_leaves_no_timer():
    async with TimeLimit(0.02, lambda: False):
        pass
    await asyncio.sleep(0.04)
