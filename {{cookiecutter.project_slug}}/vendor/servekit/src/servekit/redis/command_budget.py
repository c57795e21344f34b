"""What a Redis command may take: time, one breaker and few retries for each pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from prometheus_client import Histogram
from redis.exceptions import (
    ConnectionError as RawConnectionError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RawTimeoutError,
)

from servekit.errors import UNAVAILABLE, StoreUnavailable, WorkerBusy, is_refusal, reason_of
from servekit.event_log import get_logger
from servekit.resilience.breaker import CLOSED, Breaker
from servekit.resilience.deadlines import remaining
from servekit.resilience.retry_budget import RetryBudget

T = TypeVar("T")

log = get_logger()

RETRYABLE = (RawConnectionError, ReadOnlyError, OSError)

LATE_SECONDS = 0.02
"""A timer this late means that the event loop stood still: replies may lie unread."""

STRETCH = 2
"""A time limit is stretched at most to this multiple."""


class CommandBudget:
    """Runs commands within `timeout_seconds` in total, connecting and retrying included.

    It is less where the request that asks has less time left. While Redis replies to other commands
    of this budget, one may take twice that: then it is this worker that is slow.

    A command that fails for want of Redis, or of its permission, raises StoreUnavailable; an error
    of the command itself is raised as redis-py raises it. Only what failed at once (a reset, a
    refusal, a demoted primary) is retried: a silent Redis has used up the budget.
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
        self._replied_at = 0.0

    async def run(self, command: Callable[[], Awaitable[T]]) -> T:
        """Return what `command` returns.

        Raises:
            StoreUnavailable: Redis refused, was silent, was demoted, or the breaker is open.
        """
        started = time.perf_counter()
        try:
            with self.breaker:
                return await self._in_time(command)
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"{self.breaker.name}: {reason_of(error)}") from error
        finally:
            self._observe(time.perf_counter() - started)

    async def _in_time(self, command: Callable[[], Awaitable[T]]) -> T:
        limit = remaining(self.timeout_seconds)
        try:
            async with TimeLimit(limit, self._replied_lately):
                reply = await self._attempt(command)
        except (TimeoutError, RawTimeoutError) as error:
            if limit < self.timeout_seconds:
                raise WorkerBusy("The request's own time is over.") from error
            if time.perf_counter() - self._replied_at < self.timeout_seconds:
                raise WorkerBusy("Redis replies to other commands.") from error
            raise
        self._replied_at = time.perf_counter()
        return reply

    def _replied_lately(self) -> bool:
        return time.perf_counter() - self._replied_at < self.timeout_seconds / 4

    async def _attempt(self, command: Callable[[], Awaitable[T]]) -> T:
        if self._retries is None:
            return await self._once(command)
        self._retries.earn()
        try:
            return await self._once(command)
        except WorkerBusy:
            raise
        except RETRYABLE:
            if not self._retries.take():
                raise
            return await self._once(command)

    async def _once(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            return await command()
        except ReadOnlyError:
            # A demoted primary keeps its connections: the next one must resolve anew.
            if self._on_read_only is not None:
                await self._on_read_only()
            raise
        except ResponseError as error:
            if is_refusal(error):
                raise NoPermissionError(str(error)) from error
            raise


class TimeLimit:
    """Cancels the body after `seconds` and raises TimeoutError, as asyncio.timeout does.

    The limit is stretched, at most to twice its length, while `server_replies()` says that other
    commands get their replies, and for a moment after the event loop stood still: a burst of our
    own must not look like a server that is down.
    """

    def __init__(self, seconds: float, server_replies: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._server_replies = server_replies
        self._expired = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A time limit needs a task.")
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._seconds
        self._end = self._due + self._seconds * (STRETCH - 1)
        self._timer = self._loop.call_at(self._due, self._expire)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if not self._expired:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        now = self._loop.time()
        if now - self._due > LATE_SECONDS:
            self._due = now + LATE_SECONDS
        elif now < self._end and self._server_replies():
            self._due = min(now + self._seconds / 4, self._end)
        else:
            self._expired = True
            self._task.cancel()
            return
        self._timer = self._loop.call_at(self._due, self._expire)


class RedisBreaker(Breaker):
    """The breaker of a pool, as `with breaker:`; an open one raises StoreUnavailable.

    It knows which errors of redis-py mean that Redis is away, and which are replies. Cancellation
    is neither.
    """

    reason = ""
    refused = False
    """Whether Redis replied, and refused the command: another command is no proof of this one."""

    def opened(self) -> None:
        log.warning("redis_breaker_opened", pool=self.name, reason=self.reason)

    def suspect(self) -> None:
        if self.state == CLOSED:
            self.reason, self.refused = "its invalidation channel fell silent", False
        super().suspect()

    def closed(self) -> None:
        log.info("redis_breaker_closed", pool=self.name)

    def __enter__(self) -> None:
        if not self.allow():
            raise StoreUnavailable(f"The breaker of {self.name} is open.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.succeeded()
        elif isinstance(error, WorkerBusy):
            self.abandoned()
        elif isinstance(error, UNAVAILABLE):
            self.reason, self.refused = reason_of(error), isinstance(error, ResponseError)
            self.failed()
        elif isinstance(error, Exception):
            self.succeeded()  # Redis replied; it disliked the command.
        else:
            self.abandoned()
