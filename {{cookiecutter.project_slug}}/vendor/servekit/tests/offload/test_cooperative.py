import asyncio
import time

from servekit.offload.cooperative import cooperatively


async def longest_gap(work):
    """Run `work` beside a ticking task; return the longest time that the task had to wait."""
    gaps = []
    done = False

    async def tick():
        last = time.monotonic()
        while not done:
            await asyncio.sleep(0)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work
    done = True
    await ticking
    return max(gaps), len(gaps)


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_long_loop_gives_way_by_time():
    async def work():
        seen = []
        async for item in cooperatively(range(40), budget_seconds=0.005):
            burn(0.002)
            seen.append(item)
        assert seen == list(range(40))

    _, turns = await longest_gap(work())
    assert 8 <= turns <= 42  # one for each checkpoint, and one before and after


async def test_short_items_do_not_give_way_each_time():
    async def work():
        async for _ in cooperatively(range(10_000), budget_seconds=10):
            pass

    _, turns = await longest_gap(work())
    assert turns <= 2
