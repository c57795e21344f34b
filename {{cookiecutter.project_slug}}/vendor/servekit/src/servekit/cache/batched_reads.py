"""Reads that are asked for in the same turn of the event loop, sent as one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from servekit.deadlines import without_deadline

BATCH = 100


class BatchedReads:
    """Gathers single reads into `read_all(names)`; a worker under load needs few round trips.

    A read alone is sent at once; while one is on its way, others gather. A batch runs in a task of
    its own: the caller who is cancelled takes nobody with it.
    """

    def __init__(self, read_all: Callable[[list[str]], Awaitable[Sequence[bytes | None]]]) -> None:
        self._read_all = read_all
        self._waiting: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._alone = False

    async def get(self, name: str) -> bytes | None:
        """Return what `read_all` returns for the name, or raise what it raises."""
        if not self._alone:  # Nobody to wait for: a batch of one would only cost its task.
            self._alone = True
            try:
                return (await self._read_all([name]))[0]
            finally:
                self._alone = False
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append((name, future))
        return await future

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), BATCH):
            work = self._read(waiting[start : start + BATCH])
            task = asyncio.get_running_loop().create_task(work, context=without_deadline())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _read(self, waiting: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        try:
            found = await self._read_all([name for name, _ in waiting])
        except BaseException as error:
            for _, future in waiting:
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), data in zip(waiting, found, strict=True):
                if not future.done():
                    future.set_result(data)
