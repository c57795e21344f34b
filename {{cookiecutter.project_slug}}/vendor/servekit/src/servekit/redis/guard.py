"""The budget of a pool's commands: time, one breaker, few retries, and what they took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Histogram
from redis.exceptions import (
    ConnectionError as RawConnectionError,
    ReadOnlyError,
    TimeoutError as RawTimeoutError,
)

from servekit.deadlines import remaining
from servekit.errors import UNAVAILABLE, StoreUnavailable, WorkerBusy
from servekit.redis.breaker import RedisBreaker
from servekit.redis.time_limit import TimeLimit
from servekit.retry_budget import RetryBudget

T = TypeVar("T")

RETRYABLE = (RawConnectionError, ReadOnlyError, OSError)


class Guard:
    """Runs calls to Redis within `timeout_seconds` in total, connecting and retrying included.

    It is less where the request that asks has less time left. While Redis answers other calls of
    this guard, a call may take twice that: then it is this worker that is slow.

    A call that fails for want of Redis raises StoreUnavailable; an error of the command itself is
    raised as redis-py raises it. Only what failed at once (a reset, a refusal, a demoted primary)
    is retried: a silent Redis has used up the budget.
    """

    def __init__(
        self,
        breaker: RedisBreaker,
        *,
        timeout_seconds: float,
        duration: Histogram,
        retries: RetryBudget | None = None,
        on_read_only: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.breaker = breaker
        self.timeout_seconds = timeout_seconds
        self._observe = duration.labels(breaker.name).observe
        self._retries = retries
        self._on_read_only = on_read_only
        self._answered_at = 0.0

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns.

        Raises:
            StoreUnavailable: Redis refused, was silent, was demoted, or the breaker is open.
        """
        started = time.perf_counter()
        try:
            with self.breaker:
                return await self._in_time(call)
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"{self.breaker.name}: {error}") from error
        finally:
            self._observe(time.perf_counter() - started)

    async def _in_time(self, call: Callable[[], Awaitable[T]]) -> T:
        limit = remaining(self.timeout_seconds)
        try:
            async with TimeLimit(limit, self._lively):
                answer = await self._attempt(call)
        except (TimeoutError, RawTimeoutError) as error:
            if limit < self.timeout_seconds:
                raise WorkerBusy("The request's own time is over.") from error
            if time.perf_counter() - self._answered_at < self.timeout_seconds:
                raise WorkerBusy("Redis answers others.") from error
            raise
        self._answered_at = time.perf_counter()
        return answer

    def _lively(self) -> bool:
        return time.perf_counter() - self._answered_at < self.timeout_seconds / 4

    async def _attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._retries is None:
            return await self._once(call)
        self._retries.earn()
        try:
            return await self._once(call)
        except WorkerBusy:
            raise
        except RETRYABLE:
            if not self._retries.take():
                raise
            return await self._once(call)

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except ReadOnlyError:
            # A demoted primary keeps its connections: the next one must resolve anew.
            if self._on_read_only is not None:
                await self._on_read_only()
            raise
