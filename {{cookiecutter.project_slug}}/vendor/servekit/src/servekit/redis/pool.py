"""Connection pools that wait a bounded time, in order, and renew their connections."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import Histogram
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from servekit.errors import WorkerBusy


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
        self._old_at: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connected connection; raises WorkerBusy when none became free in time."""
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        self._in_use_connections.remove(connection)
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await connection.disconnect(nowait=True)
        finally:
            self._available_connections.append(connection)
            self._slots.release()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        now = time.monotonic()
        if connection.is_connected and now > self._old_at.get(connection, now):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            jitter = random.uniform(0.8, 1)  # noqa: S311 - no secret
            self._old_at[connection] = now + self._age_seconds_max * jitter
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
