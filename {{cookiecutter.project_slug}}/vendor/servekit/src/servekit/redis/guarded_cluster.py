"""A client of a Redis Cluster whose commands keep their guard's budget."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from prometheus_client import Histogram
from redis.asyncio import RedisCluster

from servekit.redis.guard import Guard


class GuardedCluster(RedisCluster):
    """A Cluster's client with one limit on its connections, which grow old together.

    Its pipelines are not guarded: gather single commands.
    """

    guard: Guard

    def __init__(
        self, *, max_connections: int, wait: Histogram, age_seconds_max: float, **options: Any
    ) -> None:
        # Every fifth redirection would close all connections, those in use too: none does.
        super().__init__(max_connections=max_connections, reinitialize_steps=0, **options)
        # Its own pools raise at once when they are exhausted.
        self._slots = asyncio.Semaphore(max_connections)
        self._wait = wait
        self._age_seconds_max = age_seconds_max
        self._old_at = self._due()
        self._learning: asyncio.Task[RedisCluster] | None = None

    def execute_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        call: Callable[..., Awaitable[Any]] = super().execute_command

        async def in_turn() -> Any:
            if self._initialize:
                await asyncio.shield(self.learn())
            await self._take_slot()
            try:
                if time.monotonic() > self._old_at:
                    await self._renew()
                return await call(*args, **options)
            finally:
                self._slots.release()

        return self.guard.run(in_turn)

    async def aclose(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await super().aclose()

    def learn(self) -> asyncio.Task[RedisCluster]:
        """Begin to learn the layout, or return the task that does, for all who wait.

        redis-py sends commands that come before it to any node.
        """
        if self._learning is None or self._learning.done():
            self._learning = asyncio.get_running_loop().create_task(self.initialize())
            self._learning.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._learning

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        with self._wait.time():
            await self._slots.acquire()

    def _due(self) -> float:
        jitter = random.uniform(0.8, 1)  # noqa: S311 - no secret
        return time.monotonic() + self._age_seconds_max * jitter

    async def _renew(self) -> None:
        """Reopen what is open: only that looks up the nodes' names again."""
        self._old_at = self._due()
        for node in self.get_nodes():
            node.update_active_connections_for_reconnect()
            await node.disconnect_free_connections()
