"""The right to load a key, which one process holds at a time and a dead one loses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any

from servekit.cache.redis_tier import RedisTier
from servekit.errors import StoreUnavailable

TRIES = 4
TRY_AGAIN_SECONDS = 0.25


class Leases:
    """Leases in Redis of `seconds`, renewed while a load takes longer."""

    def __init__(self, redis: RedisTier, *, seconds: float) -> None:
        self.seconds = seconds
        self._redis = redis
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, key: str) -> bytes | None:
        """Return a token, or None while another holds the lease; may raise StoreUnavailable."""
        return await self._redis.lease(key)

    def give_back(self, key: str, token: bytes | None) -> None:
        """Let others load the key at once; in the background, for Redis may be slow to answer."""
        if token is not None:
            self._start(self._give_back(key, token))

    @contextlib.contextmanager
    def renewed(self, key: str, token: bytes | None) -> Iterator[None]:
        """Keep the lease during the body."""
        if token is None:
            yield
            return
        loop, tasks = asyncio.get_running_loop(), []

        # Most loads are over before: they pay for a timer, not for a task.
        timer = loop.call_later(
            self.seconds / 3, lambda: tasks.append(self._start(self._renew(key, token)))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give_back(self, key: str, token: bytes) -> None:
        for _ in range(TRIES):
            with contextlib.suppress(StoreUnavailable):
                await self._redis.release(key, token)
                return
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _renew(self, key: str, token: bytes) -> None:
        held = True
        while held:
            with contextlib.suppress(StoreUnavailable):
                held = await self._redis.renew(key, token)
            await asyncio.sleep(self.seconds / 3)
