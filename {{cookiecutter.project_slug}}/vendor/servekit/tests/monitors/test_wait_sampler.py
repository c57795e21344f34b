"""Where requests wait: down to the line, by route, each once, in tasks of their own too."""

import asyncio
import itertools
import time
from collections import Counter

import pytest
import uvloop

from servekit.layers.running_request import running_request
from servekit.monitors import wait_sampler
from servekit.monitors.profiling import Profiling
from servekit.monitors.wait_sampler import WaitSampler


class Route:
    path = "/items/{id}"


async def request(handler):
    """Serve a request as an application does: the scope is a local variable."""
    scope = {"type": "http", "route": Route}
    return await handler(), scope


async def rest():
    await asyncio.sleep(60)


async def directly():
    await rest()


async def in_a_gather():
    await asyncio.gather(rest(), rest())


async def in_a_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(rest())
        group.create_task(rest())


async def in_wait():
    await asyncio.wait([asyncio.create_task(rest())])


async def in_a_task():
    await asyncio.create_task(rest())


async def with_a_limit():
    await asyncio.wait_for(rest(), 60)


async def with_a_timeout():
    async with asyncio.timeout(60):
        await rest()


WAYS = [directly, in_a_gather, in_a_group, in_wait, in_a_task, with_a_limit, with_a_timeout]


@pytest.fixture(autouse=True)
def _tests_are_the_programs_own(monkeypatch):
    monkeypatch.setattr(wait_sampler, "is_own", lambda file: file == __file__)


async def sampled(*tasks, seconds=0.2, hertz=100.0):
    sampler = WaitSampler(running_request, hertz=hertz)
    await sampler.run(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sampler.milliseconds


def named(stack):
    return [line.partition(" (")[0] for line in stack]


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("way", WAYS)
def test_a_request_is_followed_to_the_line_that_waits_in_tasks_of_its_own_too(way, factory):
    async def sample():
        return await sampled(asyncio.create_task(request(way)))

    with asyncio.Runner(loop_factory=factory) as runner:
        [(stack, milliseconds)] = runner.run(sample()).items()
    assert stack[0] == "/items/{id}"
    names = named(stack)
    assert names[1:3] == ["request", way.__name__]
    assert names[-2:] == ["rest", "sleep"]
    line = rest.__code__.co_firstlineno + 1
    assert f"rest ({__file__}:{line})" in stack
    assert milliseconds > 100


async def test_time_of_requests_adds_up_and_other_tasks_do_not_count():
    background = asyncio.create_task(rest())
    requests = [asyncio.create_task(request(way)) for way in WAYS]
    sums: Counter[str] = Counter()
    for stack, milliseconds in (await sampled(background, *requests)).items():
        sums[named(stack)[2]] += milliseconds
    assert len(sums) == len(WAYS)
    assert len(set(sums.values())) == 1


async def always():
    while True:
        yield


async def test_a_request_that_could_go_on_waits_for_its_turn():
    async def handler():
        async for _ in always():
            await asyncio.sleep(0)

    stacks = await sampled(asyncio.create_task(request(handler)))
    assert {stack[-1] for stack in stacks} == {wait_sampler.TURN}


async def test_it_takes_a_hundredth_of_the_loop_however_many_tasks_there_are(monkeypatch):
    began, taken = [], []
    sample = WaitSampler._sample

    def timed(self, milliseconds):
        began.append(time.perf_counter())
        computed = time.thread_time()
        sample(self, milliseconds)
        taken.append(time.thread_time() - computed)

    monkeypatch.setattr(WaitSampler, "_sample", timed)
    tasks = [asyncio.create_task(request(directly)) for _ in range(300)]
    await sampled(*tasks, seconds=3, hertz=1000)
    # A sample that met a collection is followed by a longer pause; the last one by the end.
    pauses = [later - earlier for earlier, later in itertools.pairwise(began)]
    for seconds, pause in zip(taken, pauses[:-1], strict=False):
        assert seconds < 2.1 * wait_sampler.COST * pause  # pauses are irregular


async def test_of_very_many_tasks_some_are_drawn_that_count_for_all(monkeypatch):
    monkeypatch.setattr(wait_sampler, "TASKS_MAX", 10)
    tasks = [asyncio.create_task(request(directly)) for _ in range(100)]
    [(_, milliseconds)] = (await sampled(*tasks)).items()
    assert milliseconds > 100 * 100


async def test_one_mode_of_three_in_one_format():
    profile = Profiling().profile
    with pytest.raises(ValueError, match="mode is one of wall, cpu, waits, not gpu"):
        await profile({"mode": "gpu"})
    with pytest.raises(ValueError, match="it is given collapsed"):
        await profile({"mode": "waits", "format": "speedscope"})
    assert await profile({"mode": "waits", "seconds": 0.01}) == b""
