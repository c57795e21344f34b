"""Redis clients whose commands keep their guard's budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from servekit.redis.guard import Guard


class GuardedPipeline(Pipeline):
    """A pipeline that runs in its guard's budget as one command."""

    guard: Guard

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        call = super().execute
        return await self.guard.run(lambda: call(raise_on_error))


class GuardedRedis(Redis):
    """A client whose commands and pipelines keep the guard's budget."""

    guard: Guard

    def execute_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        call: Callable[..., Awaitable[Any]] = super().execute_command
        return self.guard.run(lambda: call(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> GuardedPipeline:
        pipeline = GuardedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.guard = self.guard
        return pipeline
