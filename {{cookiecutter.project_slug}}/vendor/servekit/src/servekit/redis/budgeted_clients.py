"""redis-py's clients, every command of which keeps the budget of its pool."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from prometheus_client import Histogram
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import SSLConnection
from redis.exceptions import WatchError

from servekit.foreign.redis import is_new
from servekit.redis.command_budget import CommandBudget
from servekit.redis.tls import TlsConnection


class BudgetedPipeline(Pipeline):
    """A pipeline that keeps its budget as one command."""

    budget: CommandBudget

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        call = super().execute
        stack, scripts, watching = self.command_stack, self.scripts, self.watching
        tries = itertools.count()

        async def attempt() -> list[Any]:
            if next(tries) and watching:
                raise WatchError("The connection that watched was lost.")
            # It is emptied by each try, also by one that failed: a second would do nothing.
            self.command_stack, self.scripts = stack, scripts
            return await call(raise_on_error)

        return await self.budget.run(attempt)


class BudgetedRedis(Redis):
    """A client whose commands and pipelines keep the budget."""

    budget: CommandBudget

    def execute_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        call: Callable[..., Awaitable[Any]] = super().execute_command
        return self.budget.run(lambda: call(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> BudgetedPipeline:
        pipeline = BudgetedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.budget = self.budget
        return pipeline


class BudgetedCluster(RedisCluster):
    """A Cluster's client with one limit on its connections, which grow old together.

    Its pipelines keep no budget: gather single commands.
    """

    budget: CommandBudget

    def __init__(
        self, *, max_connections: int, wait: Histogram, age_seconds_max: float, **options: Any
    ) -> None:
        # Every fifth redirection would close all connections, those in use too: none does.
        super().__init__(max_connections=max_connections, reinitialize_steps=0, **options)
        if self.connection_kwargs.get("connection_class") is SSLConnection:
            # It takes no class of ours; what it makes its nodes of can be changed.
            self.connection_kwargs["connection_class"] = TlsConnection
            for node in self.startup_nodes:
                node.connection_class = TlsConnection
        # Its own pools raise at once when they are exhausted.
        self._slots = asyncio.Semaphore(max_connections)
        self._wait = wait
        self._age_seconds_max = age_seconds_max
        self._renew_at = self._draw_renewal()
        self._layout_task: asyncio.Task[RedisCluster] | None = None

    def execute_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        call: Callable[..., Awaitable[Any]] = super().execute_command

        async def in_turn() -> Any:
            if is_new(self):
                await asyncio.shield(self.load_layout())
            await self._take_slot()
            try:
                if time.monotonic() > self._renew_at:
                    await self._renew()
                return await call(*args, **options)
            finally:
                self._slots.release()

        return self.budget.run(in_turn)

    async def delete(self, *names: Any) -> Any:
        """Delete keys; as those below, redis-py's own makes a pipeline of it."""
        return await self._on_each("DEL", names)

    async def unlink(self, *names: Any) -> Any:
        """Delete keys, and free their values later."""
        return await self._on_each("UNLINK", names)

    async def exists(self, *names: Any) -> Any:
        """Count the keys that are there."""
        return await self._on_each("EXISTS", names)

    async def touch(self, *names: Any) -> Any:
        """Note a use of the keys."""
        return await self._on_each("TOUCH", names)

    async def _on_each(self, command: str, names: tuple[Any, ...]) -> int:
        return sum(await asyncio.gather(*(self.execute_command(command, name) for name in names)))

    async def aclose(self) -> None:
        if self._layout_task is not None:
            self._layout_task.cancel()
            await asyncio.gather(self._layout_task, return_exceptions=True)
        await super().aclose()

    def load_layout(self) -> asyncio.Task[RedisCluster]:
        """Begin to load which node has which keys, or return the task that does, for all who wait.

        redis-py sends commands that come before it to any node.
        """
        task = self._layout_task
        if task is None or task.done():
            task = self._layout_task = asyncio.get_running_loop().create_task(self.initialize())
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return task

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        with self._wait.time():
            await self._slots.acquire()

    def _draw_renewal(self) -> float:
        jitter = random.uniform(0.8, 1)  # noqa: S311 - no secret
        return time.monotonic() + self._age_seconds_max * jitter

    async def _renew(self) -> None:
        """Reopen what is open: only that looks up the nodes' names again."""
        self._renew_at = self._draw_renewal()
        for node in self.get_nodes():
            node.update_active_connections_for_reconnect()
            await node.disconnect_free_connections()
