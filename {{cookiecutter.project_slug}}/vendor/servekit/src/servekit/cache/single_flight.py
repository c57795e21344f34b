"""One run at a time for each key in a process, however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from servekit.deadlines import without_deadline

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs that callers of one key share.

    A run has the context of the caller who began it, but not that request's deadline, and goes on
    when callers are cancelled, even all of them: its result is worth keeping. `close` cancels what
    still runs.
    """

    def __init__(self) -> None:
        self._runs: dict[str, asyncio.Task[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()

    def begin(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the run of the key, begun now if there is none."""
        run = self._runs.get(key)
        if run is None:
            loop = asyncio.get_running_loop()
            run = self._runs[key] = loop.create_task(work(), context=without_deadline())
            self._tasks.add(run)
            run.add_done_callback(lambda run: self._end(key, run))
        return run

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the run of the key returns, or raise what it raises."""
        return await asyncio.shield(self.begin(key, work))

    def running(self, key: str) -> bool:
        return key in self._runs

    def forget(self, key: str) -> None:
        """Let later callers begin anew: what the run read is out of date."""
        self._runs.pop(key, None)

    def forget_all(self) -> None:
        self._runs.clear()

    async def close(self) -> None:
        runs = list(self._tasks)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    def _end(self, key: str, run: asyncio.Task[T]) -> None:
        self._tasks.discard(run)
        if self._runs.get(key) is run:
            del self._runs[key]
        if not run.cancelled():
            run.exception()  # Seen: nobody may be left to hear of it.
