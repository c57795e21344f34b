"""Threads of `def` routes, beside plain Starlette: never more than there are places."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

import anyio.to_thread
import pytest
from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from structlog.testing import capture_logs

from servekit.hang_up import HUNG_UP
from servekit.layers.deadline import DeadlineMiddleware
from servekit.layers.errors import ErrorsMiddleware
from servekit.offload.route_threads import RouteThreads
from servekit.testing import patience
from tests.asgi import call, http_scope

PLACES = 3
ASKED = 12


class Gate:
    """What the threads of a test run into, and how many are there."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def pass_through(self, error: BaseException | None = None) -> str:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.open.wait(patience(10))
        with self.lock:
            self.inside -= 1
        if error is not None:
            raise error
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
async def places():
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = PLACES
    async with RouteThreads():
        yield limiter


async def until(condition):
    async with asyncio.timeout(patience(5)):
        while not condition():  # noqa: ASYNC110 - a thread gives no event
            await asyncio.sleep(0.001)


def application(gate, events=None, error=None):
    app = FastAPI()

    def connection() -> Iterator[str]:
        try:
            yield "open"
        finally:
            if events is not None:
                events.append("closed")

    @app.get("/")
    def index(connection: Annotated[str, Depends(connection)]) -> str:
        answer: str = gate.pass_through(error)
        if events is not None:
            events.append("used")
        return answer

    return app


async def late(app, gate):
    """Have a request end at its deadline."""
    seconds = patience(0.3)  # enough for the first threads to begin
    answer = await call(DeadlineMiddleware(app, seconds=seconds, resolution_seconds=0.005))
    assert answer.status == 504


async def gone(app, gate):
    """Have a request end because its client left, once the threads are in use."""
    task = asyncio.create_task(call(app))
    await until(lambda: gate.most)
    await asyncio.sleep(patience(0.1))
    task.cancel(HUNG_UP)
    await asyncio.wait([task])


async def given_up(app, gate):
    """Have somebody cancel a request's task for a reason of his own."""
    task = asyncio.create_task(call(app))
    await until(lambda: gate.most)
    await asyncio.sleep(patience(0.1))
    task.cancel()
    await asyncio.wait([task])


WAYS = [late, gone, given_up]


@pytest.mark.parametrize("end", WAYS)
async def test_requests_that_end_early_never_have_more_threads_than_places(gate, places, end):
    app = application(gate)
    requests = [asyncio.create_task(end(app, gate)) for _ in range(ASKED)]
    await until(lambda: gate.inside == PLACES)
    await asyncio.sleep(patience(0.4))  # all have ended, as far as their clients see it
    late_comer = asyncio.create_task(call(app))
    await asyncio.sleep(0.05)
    assert gate.most == PLACES
    assert places.borrowed_tokens == PLACES

    gate.open.set()
    await asyncio.gather(*requests)
    assert (await late_comer).body == b'"through"'
    await until(lambda: not places.borrowed_tokens)
    assert gate.most == PLACES


async def test_plain_starlette_gives_the_places_away(gate):
    """What the test above would find without us."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = PLACES
    app = application(gate)
    await asyncio.gather(*(late(app, gate) for _ in range(PLACES)))
    await asyncio.gather(*(late(app, gate) for _ in range(PLACES)))
    assert gate.most == 2 * PLACES


def lending(gate, events, *, by_def: bool) -> FastAPI:
    """An application whose requests take something in a thread, and give it back."""

    def take() -> str:
        gate.pass_through()
        events.append("taken")
        return "one"

    def lent() -> Iterator[str]:
        one = take()
        try:
            yield one
        finally:
            assert threading.current_thread() is not threading.main_thread()
            events.append("given back")

    async def awaited() -> AsyncIterator[str]:
        one = await run_in_threadpool(take)
        try:
            yield one
        finally:
            events.append("given back")

    app = FastAPI()

    @app.get("/")
    async def index(one: Annotated[str, Depends(lent if by_def else awaited)]) -> str:
        await asyncio.sleep(0)
        events.append("used")
        return one

    return app


@pytest.mark.parametrize("by_def", [True, False])
@pytest.mark.parametrize("end", [late, gone])
async def test_what_a_thread_took_for_a_request_that_has_ended_is_given_back(
    gate, places, end, by_def
):
    events: list[str] = []
    request = asyncio.create_task(end(lending(gate, events, by_def=by_def), gate))
    await until(lambda: gate.inside)
    await asyncio.sleep(patience(0.4))
    gate.open.set()
    await request
    await until(lambda: "given back" in events)
    assert events == ["taken", "given back"]


@pytest.mark.parametrize("end", [late, gone])
async def test_what_a_thread_uses_is_closed_after_it(gate, places, end):
    events: list[str] = []
    request = asyncio.create_task(end(application(gate, events), gate))
    await until(lambda: gate.inside)
    await asyncio.sleep(patience(0.4))
    assert events == []
    gate.open.set()
    await request
    assert events == ["used", "closed"]


async def test_the_answer_does_not_wait_for_the_thread(gate, places):
    sent: list[Any] = []

    async def send(message):
        sent.append(message)

    app = DeadlineMiddleware(application(gate), seconds=0.05, resolution_seconds=0.005)
    task = asyncio.create_task(app(http_scope(), None, send))  # type: ignore[arg-type] # never received from
    await until(lambda: len(sent) == 2)
    assert sent[0]["status"] == 504
    assert gate.inside == 1
    gate.open.set()
    await task


async def test_an_error_after_the_504_is_a_record(gate, places):
    error = ValueError("late")
    app = DeadlineMiddleware(application(gate, error=error), seconds=0.05, resolution_seconds=0.005)
    sent: list[Any] = []

    async def send(message):
        sent.append(message)

    with capture_logs() as lines:
        request = asyncio.create_task(ErrorsMiddleware(app)(http_scope(), None, send))  # type: ignore[arg-type] # never received from
        await until(lambda: any(line["event"] == "request_deadline_exceeded" for line in lines))
        gate.open.set()
        with pytest.raises(ValueError, match="late"):
            await request
    assert [message.get("status") for message in sent] == [504, None]
    [line] = [line for line in lines if line["event"] == "unhandled_exception"]
    assert line["exc_info"] is error


async def test_an_error_that_nobody_waits_for_is_a_record(gate, places):
    error = ValueError("abandoned")
    with capture_logs() as lines:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run_in_threadpool(lambda: gate.pass_through(error))
        assert places.borrowed_tokens == 1
        gate.open.set()
        await until(lambda: lines)
    [line] = lines
    assert (line["event"], line["exc_info"]) == ("abandoned_thread_failed", error)
    assert places.borrowed_tokens == 0


async def test_a_call_gives_what_its_function_gives(places):
    assert await run_in_threadpool(lambda: 1) == 1
    with pytest.raises(KeyError):
        await run_in_threadpool(dict[str, int]().__getitem__, "a")
    assert await anyio.to_thread.run_sync(lambda: 2, abandon_on_cancel=True) == 2
    own = anyio.CapacityLimiter(1)
    assert await anyio.to_thread.run_sync(lambda: own.borrowed_tokens, limiter=own) == 1
    assert places.borrowed_tokens == own.borrowed_tokens == 0


async def test_the_last_that_closes_leaves_anyio_as_it_was():
    original = anyio.to_thread.run_sync
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(RouteThreads())
        assert anyio.to_thread.run_sync is not original
    assert anyio.to_thread.run_sync is original


async def test_waits_for_a_thread_are_counted():
    registry = CollectorRegistry()
    anyio.to_thread.current_default_thread_limiter().total_tokens = 1

    def value(name):
        return registry.get_sample_value(f"offload_{name}", {"pool": "routes"})

    async with RouteThreads(registry):
        first = asyncio.create_task(anyio.to_thread.run_sync(time.sleep, 0.1))
        await until(lambda: value("queue_wait_seconds_count") == 1)
        second = asyncio.create_task(anyio.to_thread.run_sync(time.sleep, 0))
        await until(lambda: value("queue_size") == 1)
        await asyncio.gather(first, second)
        assert value("queue_size") == 0
        assert value("queue_wait_seconds_count") == value("run_seconds_count") == 2
        assert value("queue_wait_seconds_sum") > 0.05
