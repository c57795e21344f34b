"""Tasks beside everything else, none of which ends silently."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from servekit.event_log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

AGAIN_SECONDS = 1.0

log = get_logger()


@contextlib.asynccontextmanager
async def running(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Keep something running while the block does."""
    background = Background()
    background.keep(run)
    try:
        yield
    finally:
        await background.cancel()


class Background:
    """Holds tasks, logs what they raise, and cancels them at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Run something once."""
        task = asyncio.create_task(coroutine, name=name or getattr(coroutine, "__qualname__", None))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[Any]:
        """Run something that is never to end; should it fail, log that and start it again."""
        return self.spawn(self._keep(run), run.__qualname__)

    async def cancel(self) -> None:
        """End every task and wait for that."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                return await run()
            except Exception:
                log.exception("background_task_failed", task=run.__qualname__)
            await asyncio.sleep(AGAIN_SECONDS)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_failed", task=task.get_name(), exc_info=error)


async def until_one(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
