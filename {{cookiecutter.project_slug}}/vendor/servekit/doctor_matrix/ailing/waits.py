"""Requests that wait while their loop is at ease."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from doctor_matrix.cases import fault, twin
from doctor_matrix.surroundings import nobody, redis, upstream
from servekit.cache import cached
from servekit.offload import ThreadsDep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servekit import Service

ASK_REDIS = 5
MANY = 60


def ask_in_turn(app: FastAPI, service: Service) -> None:
    """Answer after several commands, one after the other."""

    @app.get("/")
    async def index() -> None:
        for _ in range(ASK_REDIS):
            await service.redis.cache.get("name")


PATIENT = {"TIMEOUT_CACHE_MS": 2000}
redis_slow = fault("redis_slow", before=partial(redis, late_by=0.1), rate=10, settings=PATIENT)(
    ask_in_turn
)
redis_near = twin("redis_slow", before=redis, rate=10, settings=PATIENT)(ask_in_turn)


def need_redis(app: FastAPI, service: Service) -> None:
    """Answer from Redis or not at all."""

    @app.get("/")
    async def index() -> None:
        await service.redis.sessions.get("name")


redis_away = fault("redis_away", before=partial(nobody, "REDIS_URL", "redis"))(need_redis)
redis_there = twin("redis_away", before=redis)(need_redis)


def ask_at_once(app: FastAPI, service: Service) -> None:
    """Answer after many commands at once."""

    @app.get("/")
    async def index() -> None:
        asked = (service.redis.sessions.get("name") for _ in range(MANY))
        await asyncio.gather(*asked, return_exceptions=True)


def redis_pool_of(connections: int) -> dict[str, object]:
    """Return settings for a pool of this size, whose callers wait long."""
    return {"WORKERS": 1, "REDIS_CONNECTIONS": connections, "TIMEOUT_SESSION_MS": 3000}


redis_pool = fault(
    "redis_pool", before=partial(redis, late_by=0.008), rate=1.5, settings=redis_pool_of(1)
)(ask_at_once)
redis_pool_large = twin(
    "redis_pool", before=partial(redis, late_by=0.002), rate=1.5, settings=redis_pool_of(64)
)(ask_at_once)


def call_upstream(app: FastAPI, service: Service) -> None:
    """Answer after another service has."""
    other = service.add_upstream("stub", os.environ["UPSTREAM"])

    @app.get("/")
    async def index() -> str:
        return (await other.get("/")).text


upstream_slow = fault("upstream_slow", before=partial(upstream, late_by=0.5))(call_upstream)
upstream_quick = twin("upstream_slow", before=partial(upstream, late_by=0.02))(call_upstream)
upstream_away = fault("upstream_away", before=partial(nobody, "UPSTREAM", "http"))(call_upstream)
upstream_there = twin("upstream_away", before=partial(upstream, late_by=0.0))(call_upstream)
upstream_pool = fault(
    "upstream_pool",
    before=partial(upstream, late_by=0.09),
    rate=14,
    settings={"WORKERS": 1, "UPSTREAM_CONNECTIONS": 1},
)(call_upstream)
upstream_pool_large = twin(
    "upstream_pool",
    before=partial(upstream, late_by=0.09),
    rate=14,
    settings={"WORKERS": 1, "UPSTREAM_CONNECTIONS": 20},
)(call_upstream)


HELD_SECONDS = 0.15


def wait_in_line(app: FastAPI, _service: Service) -> None:
    """Answer after a call that one at a time may make."""
    lock = asyncio.Lock()

    @app.get("/")
    async def index() -> None:
        async with lock:
            await asyncio.sleep(HELD_SECONDS)


def wait_side_by_side(app: FastAPI, _service: Service) -> None:
    """Answer as late, and hold the lock for no more than it takes."""
    lock = asyncio.Lock()

    @app.get("/")
    async def index() -> None:
        async with lock:
            await asyncio.sleep(0.001)
        await asyncio.sleep(4 * HELD_SECONDS)


lock_wait = fault("lock_wait", rate=8, settings={"WORKERS": 1})(wait_in_line)
lock_let_go = twin("lock_wait", rate=8, settings={"WORKERS": 1})(wait_side_by_side)


def use_threads(app: FastAPI, _service: Service) -> None:
    """Answer after a blocking call in a thread of the pool."""

    @app.get("/")
    async def index(threads: ThreadsDep) -> None:
        await threads.run(time.sleep, 0.15)


def threads(size: int) -> dict[str, object]:
    """Return settings for a pool of this size."""
    return {"WORKERS": 1, "OFFLOAD_THREADS": size, "OFFLOAD_QUEUE": 500}


offload_full = fault("offload_full", rate=10, settings=threads(1))(use_threads)
offload_large = twin("offload_full", rate=10, settings=threads(16))(use_threads)


def plain_routes(app: FastAPI, _service: Service) -> None:
    """Answer by a `def` route that waits."""

    @app.get("/")
    def index() -> None:
        time.sleep(0.5)


def quick_routes(app: FastAPI, _service: Service) -> None:
    """Answer by a `def` route that waits a little."""

    @app.get("/")
    def index() -> None:
        time.sleep(0.05)


threads_starved = fault("threads_starved", rate=100, settings={"WORKERS": 1})(plain_routes)
threads_free = twin("threads_starved", rate=40, settings={"WORKERS": 1})(quick_routes)


@cached("page:{number}", ttl_seconds=60)
async def page(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


def look_up(app: FastAPI, *, keys: int) -> None:
    """Answer after many look-ups of ever other keys, or of the same ones."""
    asked = 0

    @app.get("/")
    async def index() -> None:
        nonlocal asked
        for _ in range(20):
            asked += 1
            await page(os.getpid() * 100_000 + asked % keys)


low_hit_ratio = fault("low_hit_ratio", before=redis, rate=15)(
    lambda app, _service: look_up(app, keys=100_000)
)
hot_keys = twin("low_hit_ratio", before=redis, rate=15)(
    lambda app, _service: look_up(app, keys=200)
)
