import asyncio
import time

import pytest

from servekit.redis.command_budget import TimeLimit


async def time_out(seconds, *, lively):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(seconds, lambda: lively):
            await asyncio.sleep(5)
    return time.monotonic() - started


async def test_silence_ends_at_the_limit():
    assert 0.045 <= await time_out(0.05, lively=False) < 0.09


async def test_a_server_that_answers_others_has_twice_the_time():
    assert 0.09 <= await time_out(0.05, lively=True) < 0.2


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
