"""Loads: one of a key at a time, shared by all who want it, and each ends within its time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from servekit.cache.redis_tier import RedisTier
from servekit.errors import LoadTimeout, StoreUnavailable
from servekit.event_log import get_logger
from servekit.resilience.deadlines import without_deadline

T = TypeVar("T")

log = get_logger()

CLOSE_SECONDS = 1.0
"""Time for loads to end that were cancelled with the worker."""

RELEASE_ATTEMPTS = 4
RELEASE_PAUSE_SECONDS = 0.25
POLL_SECONDS = 0.5
POLL_SECONDS_CHANNEL_DOWN = 0.05


Work = Callable[[], Coroutine[Any, Any, T]]


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """A run under way, and the tags of what it loads."""

    task: asyncio.Task[T]
    tags: Sequence[str]


class SingleFlight(Generic[T]):
    """Runs that callers of one key and one kind share; a kind is what tells apart their results.

    A run has the context of the caller who began it, but not that request's deadline, and goes on
    when callers are cancelled, even all of them: its result is worth keeping. `close` cancels what
    still runs.
    """

    def __init__(self) -> None:
        self._runs: dict[str, dict[object, Run[T]]] = {}
        self._tasks: set[asyncio.Task[T]] = set()

    def begin(
        self, key: str, kind: object, work: Work[T], tags: Sequence[str] = ()
    ) -> asyncio.Task[T]:
        """Return the run of the key, begun now if there is none."""
        run = self._runs.get(key, {}).get(kind)
        if run is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(work(), context=without_deadline())
            run = self._runs.setdefault(key, {})[kind] = Run(task, tags)
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._end(key, kind, task))
        return run.task

    async def join(self, key: str, kind: object, work: Work[T], tags: Sequence[str] = ()) -> T:
        """Return what the run of the key returns, or raise what it raises."""
        return await asyncio.shield(self.begin(key, kind, work, tags))

    def running(self, key: str, kind: object) -> bool:
        return kind in self._runs.get(key, ())

    def keys(self) -> list[str]:
        """Return the keys of the runs that later callers would join."""
        return list(self._runs)

    def forget(self, key: str) -> None:
        """Let later callers begin anew: what the run read is out of date."""
        self._runs.pop(key, None)

    def tagged(self, tag: str) -> list[str]:
        """Return the keys of the runs that carry the tag."""
        return [
            key for key, runs in self._runs.items() if any(tag in run.tags for run in runs.values())
        ]

    def forget_all(self) -> None:
        self._runs.clear()

    async def close(self) -> None:
        runs = list(self._tasks)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    def _end(self, key: str, kind: object, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        runs = self._runs.get(key, {})
        if kind in runs and runs[kind].task is task:
            del runs[kind]
            if not runs:
                del self._runs[key]
        if not task.cancelled():
            task.exception()  # Retrieved: there may be nobody who waits for it.


class Loads:
    """Runs loads, and gives up those that take too long; these are cancelled, and not waited for.

    `close` waits a moment for those that do not end when they are cancelled.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(
        self, load: Callable[[], Awaitable[Any]], *, timeout_seconds: float, name: str
    ) -> Any:
        """Return what a load returns; raise what it raises. Without a time limit (0) it may stay.

        Raises:
            LoadTimeout: It took longer than its time.
        """
        if not timeout_seconds:
            return await load()
        task = asyncio.ensure_future(load())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task}, timeout=timeout_seconds)
        except asyncio.CancelledError:
            self._give_up(task, name)
            raise
        if task.done():
            return task.result()
        self._give_up(task, name)
        raise LoadTimeout(f"{name} was not loaded within {timeout_seconds:g} s.")

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)

    def _give_up(self, task: asyncio.Future[Any], name: str) -> None:
        def tell(task: asyncio.Future[Any]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.warning("cache_load_failed_late", cache=name, error=repr(error))

        task.add_done_callback(tell)
        task.cancel()


class Leases:
    """The right to load a key, of `seconds`, which one process holds and a dead one loses.

    It is renewed while a load takes longer.
    """

    def __init__(self, redis: RedisTier, *, seconds: float) -> None:
        self.seconds = seconds
        self._redis = redis
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, key: str) -> bytes | None:
        """Return a token, or None while another holds the lease; may raise StoreUnavailable."""
        return await self._redis.lease(key)

    async def holder(self, key: str) -> bytes | None:
        """Return the token of who loads the key now, if anybody does."""
        return await self._redis.lease_holder(key)

    async def seize(self, key: str) -> bytes:
        """Take the lease from whoever holds it: what he loads is not stored any more."""
        return await self._redis.seize_lease(key)

    def release(self, key: str, token: bytes | None) -> None:
        """Let others load the key at once; in the background, for Redis may be slow to reply."""
        if token is not None:
            self._start(self._release(key, token))

    @contextlib.contextmanager
    def renewed(self, key: str, token: bytes | None) -> Iterator[None]:
        """Keep the lease during the body."""
        if token is None:
            yield
            return
        loop, tasks = asyncio.get_running_loop(), []

        # Most loads are over before: they pay for a timer, not for a task.
        timer = loop.call_later(
            self.seconds / 3, lambda: tasks.append(self._start(self._renew(key, token)))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _release(self, key: str, token: bytes) -> None:
        for _ in range(RELEASE_ATTEMPTS):
            with contextlib.suppress(StoreUnavailable):
                await self._redis.release(key, token)
                return
            await asyncio.sleep(RELEASE_PAUSE_SECONDS)

    async def _renew(self, key: str, token: bytes) -> None:
        held = True
        while held:
            with contextlib.suppress(StoreUnavailable):
                held = await self._redis.renew(key, token)
            await asyncio.sleep(self.seconds / 3)


class Waiters:
    """Those who wait for a key to be written by another process; the channel notifies them."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def waiting(self, key: str) -> Iterator[asyncio.Event]:
        """Give an event that is set at each notification of the key."""
        event = asyncio.Event()
        self._events.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._events[key]
            events.discard(event)
            if not events:
                del self._events[key]

    def notify(self, key: str) -> None:
        for event in self._events.get(key, ()):
            event.set()

    def notify_all(self) -> None:
        for key in self._events:
            self.notify(key)


async def wait_for_notification(event: asyncio.Event, *, channel_up: bool) -> None:
    """Return at the next notification, or after a while in case it was lost."""
    pause = POLL_SECONDS if channel_up else POLL_SECONDS_CHANNEL_DOWN
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause * random.uniform(0.75, 1.25)):  # noqa: S311 - jitter
            await event.wait()
    event.clear()
