"""Connection pools: they wait in order and not for ever, renew connections, follow a primary."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from prometheus_client import Histogram
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from servekit.errors import WorkerBusy
from servekit.event_log import get_logger
from servekit.foreign.redis import give_back, in_use, take_back

log = get_logger()

CHECK_SECONDS = 1.0


class BoundedPool(ConnectionPool):
    """A pool whose callers wait at most `wait_seconds_max`, and whose connections grow old.

    They are served in order: redis-py's blocking pool lets newcomers pass those who wait. A
    connection is reopened after `age_seconds_max` (with 20 % jitter): only that looks up a host
    name again after a failover by DNS.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        wait_seconds_max: float,
        wait: Histogram,
        age_seconds_max: float,
        **options: Any,
    ) -> None:
        super().__init__(max_connections=max_connections, **options)
        self._slots = asyncio.Semaphore(max_connections)
        self._wait_seconds_max = wait_seconds_max
        self._wait = wait
        self._age_seconds_max = age_seconds_max
        self._renew_at: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connected connection; raises WorkerBusy when none became free in time."""
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        try:
            connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._slots.release()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        take_back(self, connection)
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await connection.disconnect(nowait=True)
        finally:
            give_back(self, connection)
            self._slots.release()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        now = time.monotonic()
        if connection.is_connected and now > self._renew_at.get(connection, now):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            jitter = random.uniform(0.8, 1)  # noqa: S311 - no secret
            self._renew_at[connection] = now + self._age_seconds_max * jitter
        await super().ensure_connection(connection)

    async def _wait_for_slot(self) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await self._slots.acquire()
        except TimeoutError as error:
            raise WorkerBusy("No connection became free in time.") from error
        finally:
            self._wait.observe(time.perf_counter() - started)


class BoundedSentinelPool(SentinelConnectionPool, BoundedPool):
    """A bounded pool that asks for the primary once a second while it is used.

    redis-py asks only when it connects; a primary that was replaced but not stopped would go on
    taking writes, to lose them, for ten seconds. `followers` are connections out of the pool that
    are closed with the others.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self.followers: WeakSet[AbstractConnection] = WeakSet()
        self._check_task: asyncio.Task[None] | None = None
        self._check_at = 0.0

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            self._check_task = asyncio.get_running_loop().create_task(self._check_primary())
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
                address = await sentinel.execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service_name
                )
                if address is not None:
                    return await self._follow((str_if_bytes(address[0]), int(address[1])))
        raise MasterNotFoundError(f"No sentinel names the primary of {self.service_name}.")

    async def _follow(self, address: tuple[str, int]) -> tuple[str, int]:
        if address != self.master_address:
            self.master_address = address
            await self.disconnect(inuse_connections=False)
        return address

    async def aclose(self) -> None:
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.gather(self._check_task, return_exceptions=True)
        await super().aclose()

    async def _check_primary(self) -> None:
        before = self.master_address
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            after = await self.get_master_address()
            if before in {None, after}:
                return
            log.warning("redis_primary_changed", address=f"{after[0]}:{after[1]}")
            for connection in in_use(self):
                connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
            for connection in list(self.followers):
                await connection.disconnect(nowait=True)
