"""Loads: each ends within its time, for all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from servekit.errors import LoadTimeout

log = structlog.get_logger()

CLOSE_SECONDS = 1.0
"""Time for loads to end that were cancelled with the worker."""


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
