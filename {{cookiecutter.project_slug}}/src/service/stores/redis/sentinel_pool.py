"""A pool of connections to the primary that the sentinels name, however that changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any
from weakref import WeakSet

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

from service.stores.redis.pool import BoundedPool

log = structlog.get_logger()

CHECK_SECONDS = 1.0


class BoundedSentinelPool(SentinelConnectionPool, BoundedPool):
    """A bounded pool that asks for the primary once a second while it is used.

    redis-py asks only when it connects; a primary that was replaced but not stopped would go on
    taking writes, to lose them, for ten seconds. `followers` are connections out of the pool that
    are closed with the others.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self.followers: WeakSet[AbstractConnection] = WeakSet()
        self._check: asyncio.Task[None] | None = None
        self._check_at = 0.0

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            self._check = asyncio.get_running_loop().create_task(self._follow())
        return await super().get_connection()

    async def aclose(self) -> None:
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)
        await super().aclose()

    async def _follow(self) -> None:
        before = self.master_address
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            # Of itself it closes the idle connections when the address is another.
            after = await self.get_master_address()  # type: ignore[no-untyped-call]
            if before in {None, after}:
                return
            log.warning("redis_primary_changed", address=f"{after[0]}:{after[1]}")
            for connection in self._in_use_connections:
                connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
            for connection in list(self.followers):
                await connection.disconnect(nowait=True)
