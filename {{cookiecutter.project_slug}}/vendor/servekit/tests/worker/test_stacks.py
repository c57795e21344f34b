"""Stacks of tasks: from the outermost coroutine down to what is awaited."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvloop

from servekit.worker.stacks import all_stacks, own_place, task_stack


async def innermost(event):
    await event.wait()


async def generated(event):
    await innermost(event)
    yield 1


async def outer_of_coroutines(event):
    await innermost(event)


async def outer_of_a_generator(event):
    async for _ in generated(event):
        pass


async def outer_of_anext(event):
    await anext(generated(event))


@asynccontextmanager
async def entered(event):
    await innermost(event)
    yield


async def outer_of_a_context(event):
    async with entered(event):
        pass


class Awaitable:
    def __init__(self, event):
        self.event = event

    def __await__(self):
        return innermost(self.event).__await__()


async def outer_of_an_awaitable(event):
    await Awaitable(event)


class ByYield(Awaitable):
    def __await__(self):
        yield from innermost(self.event).__await__()


async def outer_of_a_plain_generator(event):
    await ByYield(event)


async def outer_of_gather(event):
    await asyncio.gather(innermost(event), innermost(event))


async def outer_of_a_group(event):
    async with asyncio.TaskGroup() as group:
        group.create_task(innermost(event))


async def outer_with_a_limit(event):
    async with asyncio.timeout(60):
        await asyncio.wait_for(innermost(event), 60)


CHAINS = [
    outer_of_coroutines,
    outer_of_a_generator,
    outer_of_anext,
    outer_of_a_context,
    outer_of_an_awaitable,
    outer_of_a_plain_generator,
]
ALL = [*CHAINS, outer_of_gather, outer_of_a_group, outer_with_a_limit]


async def stack_of(outer):
    event = asyncio.Event()
    task = asyncio.create_task(outer(event))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    text, everything = "".join(task_stack(task)), all_stacks()
    event.set()
    await asyncio.wait([task])
    return text, everything


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("outer", ALL, ids=lambda outer: outer.__name__)
def test_a_suspended_task_shows_every_frame_and_what_it_waits_for(outer, factory):
    with asyncio.Runner(loop_factory=factory) as runner:
        text, everything = runner.run(stack_of(outer))
    names = [line.rpartition(" in ")[2] for line in text.splitlines() if line.startswith("  File")]
    assert names[0] == outer.__name__
    assert "waits for <" in text.splitlines()[-1]
    assert text in everything
    assert "in innermost" in everything
    if outer in CHAINS:
        assert names[-2:] == ["innermost", "wait"]
        assert "await event.wait()" in text


@pytest.mark.parametrize("outer", CHAINS, ids=lambda outer: outer.__name__)
async def test_the_line_of_own_code_that_waits_is_told_with_what_it_awaits(outer):
    event = asyncio.Event()
    task = asyncio.create_task(outer(event))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    line = innermost.__code__.co_firstlineno + 1
    assert own_place(task) == f"{__file__}:{line} innermost awaits Event.wait"
    event.set()
    await asyncio.wait([task])


async def test_every_thread_and_every_task_has_its_name():
    waiting = asyncio.create_task(asyncio.sleep(60), name="waits-for-long")
    await asyncio.sleep(0)
    text = all_stacks()
    assert "Thread MainThread" in text
    assert "waits-for-long" in text
    waiting.cancel()


async def test_what_has_not_begun_and_what_has_ended_is_no_error():
    async def nothing():
        pass

    task = asyncio.create_task(nothing())
    assert "in nothing" in "".join(task_stack(task))
    await task
    assert "".join(task_stack(task)) == ""


async def test_of_very_many_tasks_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr("servekit.worker.stacks.STACKS_MAX", 2)
    event = asyncio.Event()
    tasks = [asyncio.create_task(innermost(event)) for _ in range(5)]
    await asyncio.sleep(0)
    said = all_stacks()
    assert said.count("<Task ") == 2
    assert said.endswith("and 4 tasks more\n")
    event.set()
    await asyncio.gather(*tasks)
