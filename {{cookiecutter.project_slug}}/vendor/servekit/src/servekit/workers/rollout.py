"""New workers for old ones: on a reload all of them, when recycled one; always one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from servekit.backoff import Backoff
from servekit.workers.launch import StartError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from servekit.workers.generations import Generation, Generations
    from servekit.workers.slots import Slot
    from servekit.workers.worker_process import WorkerProcess

log = structlog.get_logger()


class Rollout:
    """Replaces workers while the service goes on; `slots` is the supervisor's own list."""

    def __init__(self, slots: list[Slot], generations: Generations) -> None:
        self._slots = slots
        self._generations = generations
        self._replacing = asyncio.Lock()

    async def run(self) -> None:
        """Load the code as it is now and replace every worker; try again until that works."""
        await until_it_starts("reload_failed", self._replace_all)

    async def recycle(self, slot: Slot, worker: WorkerProcess, reason: str) -> None:
        """Replace a worker that grew old or large; try again until that works, or it is gone."""

        async def replace() -> None:
            async with self._replacing:
                current = self._generations.current
                if slot in self._slots and slot.worker is worker and current is not None:
                    await slot.replace(current, reason)

        await until_it_starts("recycle_failed", replace, worker=slot.number)

    async def _replace_all(self) -> None:
        new = await self._generations.load()
        try:
            async with self._replacing:
                await self._replace_workers_not_of(new)
                self._generations.current = new
                # What was started meanwhile, after a crash or to scale, runs the old code.
                await self._replace_workers_not_of(new)
            log.info("reload_done", generation=new.number)
        finally:
            self._generations.close_unused()

    async def _replace_workers_not_of(self, new: Generation) -> None:
        for slot in list(self._slots):
            is_new = slot.worker is not None and slot.worker.generation is new
            if slot in self._slots and not is_new:
                await slot.replace(new, "reload")


async def until_it_starts(
    event: str, attempt: Callable[[], Awaitable[None]], **facts: object
) -> None:
    """Repeat an attempt to start workers, ever later, until it works; log each failure."""
    backoff = Backoff(first_now=False)
    while True:
        try:
            return await attempt()
        except StartError as error:
            delay = backoff.delay(0)
            log.error(  # noqa: TRY400 - the trace is the worker's, not ours
                event,
                **facts,
                reason=str(error),
                trace=error.trace,
                retry_seconds=round(delay, 1),
            )
            await asyncio.sleep(delay)
