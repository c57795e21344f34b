"""Every place, slot and counter is whole again, whatever failed after it was taken."""

import asyncio
import contextlib
import errno
import os
import re
import select
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings, strategies as st
from prometheus_client import CollectorRegistry, Histogram
from redis.asyncio.connection import Connection
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.edge.listeners import Listener
from servekit.monitors.profiling import Profiling
from servekit.offload.route_threads import RouteThreads, run_holding
from servekit.offload.threads import Threads
from servekit.redis.pools import BoundedPool
from servekit.testing import patience
from servekit.upstream.client import Upstream
from servekit.upstream.metrics import UpstreamMetrics

SIZE = 2
SOURCE = Path(__file__).parents[1] / "src" / "servekit"


class Meeting:
    """Where callers wait for each other while they hold their places."""

    def __init__(self, parties):
        self.threads = threading.Barrier(parties)
        self.tasks = asyncio.Barrier(parties)

    def wait(self):
        with contextlib.suppress(threading.BrokenBarrierError):
            self.threads.wait(patience(5))

    async def cancel(self):
        self.threads.abort()
        await self.tasks.abort()


def no_thread(*_, **__):
    raise RuntimeError("can't start new thread")


class OfThreads:
    """A pool of threads."""

    @contextlib.asynccontextmanager
    async def opened(self):
        # A place is free when its thread is, which who was cancelled does not wait for.
        async with Threads(registry=CollectorRegistry(), size=SIZE, queue=10) as self.pool:
            yield

    async def use(self, meeting):
        await self.pool.run(meeting.wait)

    def broken(self, patch):
        patch.setattr(threading.Thread, "start", no_thread)


class OfRouteThreads(OfThreads):
    """The threads of `def` routes."""

    @contextlib.asynccontextmanager
    async def opened(self):
        self.limiter = anyio.CapacityLimiter(SIZE)
        yield

    async def use(self, meeting):
        await run_holding(meeting.wait, limiter=self.limiter)


class OfRedisConnections:
    """A pool of connections to Redis."""

    class Connected(Connection):
        async def connect(self):
            self.is_connected = True  # nobody is asked

        async def can_read(self, *_, **__):
            return False

        is_connected = False

    @contextlib.asynccontextmanager
    async def opened(self):
        self.pool = BoundedPool(
            max_connections=SIZE,
            wait_seconds_max=patience(5),
            age_seconds_max=60,
            wait=Histogram("wait", "Unused.", registry=None),
            connection_class=self.Connected,
        )
        yield

    async def use(self, meeting):
        connection = await self.pool.get_connection()
        try:
            await meeting.tasks.wait()
        finally:
            await self.pool.release(connection)

    def broken(self, patch):
        patch.setattr(self.pool, "get_available_connection", no_thread)


class OfUpstream:
    """The connections to an upstream."""

    @contextlib.asynccontextmanager
    async def opened(self):
        self.meeting = None
        metrics = UpstreamMetrics(CollectorRegistry())
        transport = httpx2.MockTransport(self.answer)
        upstream = Upstream("x", "http://x", metrics=metrics, connections=SIZE, transport=transport)
        async with upstream as self.upstream:
            yield

    async def answer(self, request):
        if self.meeting is None:
            raise httpx2.ConnectError("refused")
        await self.meeting.tasks.wait()
        return httpx2.Response(200)

    async def use(self, meeting):
        self.meeting = meeting
        self.upstream.breaker.succeeded()  # what it does is not the question
        await self.upstream.get("/")

    def broken(self, patch):
        patch.setattr(self.upstream, "_send", no_thread)


async def fail(place):
    with pytest.MonkeyPatch.context() as patch:
        place.broken(patch)
        users = [place.use(Meeting(1)) for _ in range(SIZE)]  # one may find a thread that is there
        for error in await asyncio.gather(*users, return_exceptions=True):
            assert error is None or "start new thread" in str(error)


async def cancel(place):
    meeting = Meeting(2)
    waiting = asyncio.create_task(place.use(meeting))
    await asyncio.sleep(0.002)
    waiting.cancel()
    await asyncio.wait([waiting])
    await meeting.cancel()


async def use(place):
    await place.use(Meeting(1))


STEPS = {"broken": fail, "cancelled": cancel, "used": use}
PLACES = [OfThreads, OfRouteThreads, OfRedisConnections, OfUpstream]


@pytest.mark.parametrize("kind", PLACES, ids=lambda kind: kind.__name__)
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=6))
@example(steps=["broken", "broken"])
@example(steps=["cancelled", "broken", "cancelled", "used"])
@settings(max_examples=15, deadline=None)
def test_all_places_are_there_again(kind, steps):
    asyncio.run(go_through(kind(), steps))


async def go_through(place, steps):
    async with place.opened():
        for step in steps:
            await STEPS[step](place)
        meeting = Meeting(SIZE)
        async with asyncio.timeout(patience(5)):
            await asyncio.gather(*(place.use(meeting) for _ in range(SIZE)))


async def test_a_connection_that_no_protocol_takes_is_not_counted():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        published: list[int] = []
        listener = Listener(
            server,
            no_thread,
            own_count=cast("Any", SimpleNamespace(publish=published.append)),
            limit=10,
            open_connections=lambda: 0,
        )
        with socket.create_connection(server.getsockname()) as client:
            await asyncio.to_thread(select.select, [server], [], [], patience(5))
            listener.accepting = True
            [task] = (listener._accept(), listener._tasks)[1]
            await asyncio.wait([task])
            assert isinstance(task.exception(), RuntimeError)
            assert client.recv(1) == b""
        listener.publish()
        assert published == [1, 0]


async def test_a_connection_that_cannot_be_taken_is_told_of_once_in_a_while():
    class Exhausted:
        def accept(self):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    listener = Listener(
        cast("Any", Exhausted()),
        no_thread,
        own_count=cast("Any", SimpleNamespace(publish=lambda _: None)),
        limit=10,
        open_connections=lambda: 0,
    )
    with capture_logs() as records:
        assert not listener._accept()
        assert not listener._accept()
    [record] = records
    assert (record["event"], record["reason"]) == ("accept_failed", "Too many open files")


async def test_a_profile_that_cannot_start_leaves_everything_as_it_was(monkeypatch):
    profiling, interval = Profiling(), sys.getswitchinterval()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="start new thread"):
            await profiling.profile({"seconds": 0.01})
    assert sys.getswitchinterval() == interval
    assert await profiling.profile({"seconds": 0.01})


async def test_a_route_gets_503_where_no_thread_can_start(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    app = FastAPI()
    Service(Settings()).install(app)

    @app.get("/")
    def route():
        return {}

    transport = httpx2.ASGITransport(app=app)
    async with (
        RouteThreads(),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            refused = await client.get("/")
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert (await client.get("/")).status_code == 200


def test_every_place_in_the_library_is_held_by_a_test_above():
    makers = re.compile(r"\b(asyncio\.(?:Bounded)?Semaphore|PoolCapacity|CapacityLimiter)\(")
    found = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if makers.search(file.read_text())
    }
    elsewhere = {
        "redis/budgeted_clients.py",  # a Cluster's: nothing stands between its place and its `try`
        "offload/capacity.py",
    }
    assert found - elsewhere == {
        "offload/processes.py",
        "offload/route_threads.py",
        "offload/threads.py",
        "redis/pools.py",
        "upstream/client.py",
    }
