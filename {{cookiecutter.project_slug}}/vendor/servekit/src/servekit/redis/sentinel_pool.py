"""A pool of connections to the primary that the sentinels name, however that changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any
from weakref import WeakSet

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from servekit.redis.pool import BoundedPool

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

    async def get_master_address(self) -> tuple[str, int]:
        """Return the primary's address, as the guidelines for clients of Sentinel ask for it.

        redis-py lists the primaries instead: there the new one appears only when all replicas
        follow it. A new address closes the idle connections.

        Raises:
            MasterNotFoundError: No sentinel names one.
        """
        for sentinel in self.sentinel_manager.sentinels:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                found = await sentinel.execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service_name
                )
                if found is not None:
                    return await self._moved_to((str_if_bytes(found[0]), int(found[1])))
        raise MasterNotFoundError(f"No sentinel names the primary of {self.service_name}.")

    async def _moved_to(self, address: tuple[str, int]) -> tuple[str, int]:
        if address != self.master_address:
            self.master_address = address
            await self.disconnect(inuse_connections=False)
        return address

    async def aclose(self) -> None:
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)
        await super().aclose()

    async def _follow(self) -> None:
        before = self.master_address
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            after = await self.get_master_address()
            if before in {None, after}:
                return
            log.warning("redis_primary_changed", address=f"{after[0]}:{after[1]}")
            for connection in self._in_use_connections:
                connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
            for connection in list(self.followers):
                await connection.disconnect(nowait=True)
