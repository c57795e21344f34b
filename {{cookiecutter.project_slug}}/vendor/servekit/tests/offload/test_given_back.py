"""What dependencies take they give back as in plain FastAPI, whenever a request ends."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import anyio.to_thread
import pytest
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from servekit.hang_up import HUNG_UP, end_request
from servekit.layers.deadline import DeadlineMiddleware
from servekit.offload.route_threads import RouteThreads
from servekit.testing import patience
from tests.asgi import call


class Events(list[str]):
    """What happened, and a way for threads to wait for the end of the request."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def work(self) -> None:
        """Last, in a thread, until the request has been told to end."""
        self.append("working")
        self.ended.wait(patience(10))
        self.append("worked")


def dependencies(events: Events) -> dict[str, Any]:
    def by_def() -> Iterator[None]:
        try:
            yield
        finally:
            assert threading.current_thread() is not threading.main_thread()
            events.append("closing")
            time.sleep(0.01)
            events.append("closed")

    async def awaited() -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("closing")
            await asyncio.sleep(0.01)
            await run_in_threadpool(time.sleep, 0.01)
            await asyncio.sleep(0)
            events.append("closed")

    return {"def": by_def, "async def": awaited}


def application(events: Events, dependency: str, route: str) -> FastAPI:
    app = FastAPI()
    taken = Annotated[None, Depends(dependencies(events)[dependency])]

    def plain(taken: taken):
        events.work()
        return {"ok": True}

    def typed(taken: taken) -> dict[str, bool]:
        events.work()
        return {"ok": True}

    async def thread_last(taken: taken):
        return await run_in_threadpool(events.work)

    async def waits_after(taken: taken):
        await run_in_threadpool(events.work)
        await asyncio.sleep(60)
        events.append("went on")

    async def thread_after(taken: taken):
        await run_in_threadpool(events.work)
        await run_in_threadpool(events.append, "went on")

    app.get("/")(locals()[route])
    return app


async def until(condition):
    async with asyncio.timeout(patience(5)):
        while not condition():  # noqa: ASYNC110 - a thread gives no event
            await asyncio.sleep(0.001)


async def late(app, events):
    task = asyncio.create_task(
        call(DeadlineMiddleware(app, seconds=patience(0.3), resolution_seconds=0.005))
    )
    await until(lambda: "working" in events)
    await asyncio.sleep(patience(0.4))
    events.ended.set()
    assert (await task).status == 504


async def gone(app, events):
    task = asyncio.create_task(call(app))
    await until(lambda: "working" in events)
    end_request(task, HUNG_UP)
    await asyncio.sleep(0.02)
    events.ended.set()
    await asyncio.wait([task])


@pytest.fixture
async def events():
    anyio.to_thread.current_default_thread_limiter().total_tokens = 3
    async with RouteThreads():
        events = Events()
        yield events
        events.ended.set()


@pytest.mark.parametrize("route", ["plain", "typed", "thread_last", "waits_after", "thread_after"])
@pytest.mark.parametrize("dependency", ["def", "async def"])
@pytest.mark.parametrize("end", [late, gone])
async def test_a_request_that_ends_while_it_has_a_thread_gives_everything_back(
    events, end, dependency, route
):
    await end(application(events, dependency, route), events)
    assert events == ["working", "worked", "closing", "closed"]


@pytest.mark.parametrize("dependency", ["def", "async def"])
@pytest.mark.parametrize("end", [late, gone])
async def test_one_that_is_told_to_end_while_it_gives_back_goes_on(events, end, dependency):
    """As after an error: FastAPI sends an answer first otherwise."""
    app = FastAPI()
    taken = Annotated[None, Depends(dependencies(events)[dependency])]

    async def slow() -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("working")
            async with asyncio.timeout(patience(10)):
                while not events.ended.is_set():  # noqa: ASYNC110 - a thread gives no event
                    await asyncio.sleep(0.001)
            events.append("worked")

    @app.get("/")
    async def route(taken: taken, slow: Annotated[None, Depends(slow)]) -> None:
        raise KeyError

    ending = asyncio.create_task(end(app, events))
    await asyncio.wait([ending])
    ending.exception()
    assert events == ["working", "worked", "closing", "closed"]
