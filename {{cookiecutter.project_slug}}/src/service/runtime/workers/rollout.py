"""New workers for old ones: on a reload all of them, when recycled one; always one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service.runtime.workers.backoff import Backoff
from service.runtime.workers.launchers import StartError

if TYPE_CHECKING:
    from service.runtime.workers.generations import Generations
    from service.runtime.workers.slots import Slot

log = structlog.get_logger()


class Rollout:
    """Replaces workers while the service goes on; `slots` is the supervisor's own list."""

    def __init__(self, slots: list[Slot], generations: Generations) -> None:
        self._slots = slots
        self._generations = generations
        self._rolling = asyncio.Lock()

    async def run(self) -> None:
        """Load the code as it is now and replace every worker; try again until that works."""
        backoff = Backoff(first_now=False)
        while True:
            try:
                return await self._replace_all()
            except StartError as error:
                delay = backoff.delay(0)
                log.error(  # noqa: TRY400 - the trace is the worker's, not ours
                    "reload_failed",
                    reason=str(error),
                    trace=error.trace,
                    retry_seconds=round(delay, 1),
                )
                await asyncio.sleep(delay)

    async def recycle(self, slot: Slot, reason: str) -> None:
        """Replace one worker that grew old or large."""
        async with self._rolling:
            if slot in self._slots and self._generations.current is not None:
                await slot.replace(self._generations.current, reason)

    async def _replace_all(self) -> None:
        new = await self._generations.load()
        try:
            async with self._rolling:
                for slot in list(self._slots):
                    if slot in self._slots:
                        await slot.replace(new, "reload")
            self._generations.current = new
            log.info("reload_done", generation=new.number)
        finally:
            self._generations.tidy()
