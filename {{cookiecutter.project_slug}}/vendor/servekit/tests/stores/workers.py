"""Two workers in one test: each with its own clients and cache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from servekit.cache.cache import Cache
from servekit.redis.clients import RedisClients
from servekit.sessions.store import SessionStore
from servekit.testing import patience


class Product(BaseModel, frozen=True):
    id: int
    name: str = "Chair"


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until the condition holds, which may be async; fail when it does not in time."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        holds = condition()
        if isinstance(holds, Awaitable):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, "It did not come true in time."
        await asyncio.sleep(0.002)


async def settle(cache: Cache, read: Callable[[int], Awaitable[Any]], numbers: range) -> None:
    """Read until the local tier has everything: a write of our own drops the local value once."""

    async def settled() -> bool:
        await asyncio.gather(*(read(number) for number in numbers))
        await asyncio.sleep(0.02)
        return len(cache._coherence.local.entry_keys()) == len(numbers)

    await until(settled)


@asynccontextmanager
async def worker(url: str, *, budget: float = 0, **options: Any) -> AsyncIterator[Cache]:
    """A cache as a worker has it, its channel up; its budget is wide, for busy machines."""
    budget = budget or patience(1)
    clients = RedisClients(url, cache_timeout_seconds=budget, connect_timeout_seconds=2.5 * budget)
    async with clients, Cache(clients, **options) as cache:
        if options.get("enabled", True):
            await until(lambda: cache.coherent)
        yield cache


@asynccontextmanager
async def session_worker(
    url: str, *, channel_url: str = "", budget: float = 10, **options: Any
) -> AsyncIterator[Any]:  # a SessionStore; tests look inside, and know what is not None
    """Sessions as a worker has them, their channel up, perhaps by a way of its own."""
    budgets: dict[str, Any] = {"session_timeout_seconds": budget, "connect_timeout_seconds": budget}
    async with (
        RedisClients(url, **budgets) as clients,
        RedisClients(channel_url or url, **budgets) as channel_clients,
    ):
        store = SessionStore(clients, secret_keys=["key-of-the-tests"], **options)
        channel: Any = store._local._channel
        channel._connect = channel_clients.invalidation_connections
        async with store:
            await until(lambda: store.coherent or not store._local._limit_bytes)
            yield store


class Source:
    """A source of products that counts its loads and can be slow or broken."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.loads = 0
        self.error: Exception | None = None
        self.names: dict[int, str] = {}

    async def load(self, product_id: int) -> Product | None:
        self.loads += 1
        name = self.names.get(product_id, "Chair")
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return Product(id=product_id, name=name) if product_id > 0 else None

    def cached(self, cache: Cache, **options: Any) -> Any:
        defaults: dict[str, Any] = {"ttl_seconds": 60, "jitter": 0}
        return cache.cached("product:{product_id}", **(defaults | options))(self.load)


async def is_named(product: Callable[[int], Awaitable[Product]], name: str) -> bool:
    return (await product(7)).name == name
