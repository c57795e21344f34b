"""Connection pools that wait a bounded time and renew their connections."""

from __future__ import annotations

import random
import time
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import Histogram
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RawConnectionError

from service.stores.errors import PoolExhausted


class BoundedPool(BlockingConnectionPool):
    """A pool whose callers wait at most `timeout` seconds, and whose connections grow old.

    A connection is reopened after `age_seconds_max` (with 20 % jitter): only that looks up a host
    name again after a failover by DNS.
    """

    def __init__(
        self, *, wait: Histogram | None = None, age_seconds_max: float = 600, **options: Any
    ) -> None:
        super().__init__(**options)
        self._wait = wait
        self._age_seconds_max = age_seconds_max
        self._old_at: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()

    async def get_connection(self, *arguments: Any, **options: Any) -> Any:
        if self.can_get_connection():
            return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]
        started = time.perf_counter()
        try:
            return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]
        except RawConnectionError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise PoolExhausted("No connection became free in time.") from error
            raise
        finally:
            if self._wait is not None:
                self._wait.observe(time.perf_counter() - started)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        now = time.monotonic()
        if connection.is_connected and now > self._old_at.get(connection, now):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            jitter = random.uniform(0.8, 1)  # noqa: S311 - no secret
            self._old_at[connection] = now + self._age_seconds_max * jitter
        await super().ensure_connection(connection)


class BoundedSentinelPool(SentinelConnectionPool, BoundedPool):
    """The same, of connections to the primary that the sentinels name."""
