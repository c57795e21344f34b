import asyncio
from typing import Any

import pytest

from servekit.cache.single_flight import SingleFlight
from servekit.resilience.deadlines import Deadline, current_deadline, remaining
from tests.stores.workers import until, worker


async def test_a_run_that_many_wait_for_does_not_end_with_the_time_of_the_first():
    flight: SingleFlight[float] = SingleFlight()

    async def work() -> float:
        return remaining(7)

    deadline = Deadline(1)
    deadline.at = 0
    token = current_deadline.set(deadline)
    assert await flight.join("a", int, work) == 7
    assert remaining(7) == 0
    current_deadline.reset(token)


async def test_callers_of_one_key_and_another_kind_share_nothing():
    flight: SingleFlight[object] = SingleFlight()

    def returning(value: object) -> Any:
        async def work() -> object:
            await asyncio.sleep(0.01)
            return value

        return work

    calls = [flight.join("a", type(value), returning(value)) for value in (1, "1", 2)]

    assert await asyncio.gather(*calls) == [1, "1", 1]
    assert not flight.keys()


async def test_what_forgets_a_key_forgets_all_its_kinds_and_a_tag_means_what_carries_it():
    flight: SingleFlight[int] = SingleFlight()
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 1

    for key, kind, tags in (("a", int, ["x"]), ("a", str, []), ("b", int, ["y"]), ("c", int, [])):
        flight.begin(key, kind, work, tags)
    assert [flight.tagged(tag) for tag in "xyz"] == [["a"], ["b"], []]
    flight.forget("a")
    assert sorted(flight.keys()) == ["b", "c"]
    assert not flight.running("a", int)
    first = flight.begin("a", int, work)
    assert flight.begin("a", int, work) is first
    flight.forget("a")
    assert flight.begin("a", int, work) is not first
    go.set()
    await flight.close()
    assert not flight.keys()


async def test_functions_of_one_key_and_two_types_get_each_their_own(redis_url):
    async with worker(redis_url) as cache:

        async def number(key: int) -> int:
            await asyncio.sleep(0.05)
            return key

        async def text(key: int) -> str:
            await asyncio.sleep(0.05)
            return str(key)

        functions = [cache.cached("same:{key}", ttl_seconds=60)(each) for each in (number, text)]
        assert await asyncio.gather(*(each(7) for each in functions * 3)) == [7, "7"] * 3


async def test_a_new_tag_disturbs_no_load_that_does_not_carry_it(redis_url):
    loads = 0
    async with worker(redis_url) as a, worker(redis_url) as b:
        go = asyncio.Event()

        @a.cached("slow:{key}", ttl_seconds=60, tags=("slow",))
        async def slow(key: int) -> int:
            nonlocal loads
            loads += 1
            await go.wait()
            return key

        await a.set("mark", 1, ttl_seconds=60, tags=("slow",))
        await asyncio.sleep(0.02)  # that tag is new to all, once
        assert await a.get("mark", int) == 1
        calls = [asyncio.ensure_future(slow(7))]
        await until(lambda: loads)
        for number in range(50):
            await b.set(f"other:{number}", 1, ttl_seconds=60, tags=(f"tag:{number}",))
        await b.delete("mark")
        await until(lambda: _gone(a))
        assert a._coherence.flights.running("slow:7", slow.policy.codec)
        calls.append(asyncio.ensure_future(slow(7)))
        await asyncio.sleep(0)
        go.set()

        assert await asyncio.gather(*calls) == [7, 7]
        assert loads == 1


async def _gone(cache):
    return await cache.get("mark", int) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_sharer_of_a_read_ends_when_it_is_cancelled_whoever_else_is(redis_url, order):
    async with worker(redis_url) as cache:
        asked, hang = 0, asyncio.Event()

        async def never(_: object) -> bytes:
            nonlocal asked
            asked += 1
            await hang.wait()
            return b""

        cache._reader.redis.get = never  # type: ignore[method-assign, assignment]
        calls = [asyncio.ensure_future(cache.get("a", int)) for _ in range(3)]
        await until(lambda: asked)
        await asyncio.sleep(0)
        for each in order:
            calls[each].cancel()
        await asyncio.sleep(0.05)

        assert [call.cancelled() for call in calls] == [True, True, False]
        assert asked == 2, "the third reads for itself"
        calls[2].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
