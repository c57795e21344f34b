"""What becomes of a request whose client has left: a read is cancelled, a write is finished."""

from __future__ import annotations

import asyncio
from typing import Any

from servekit.foreign.uvicorn import HttpToolsProtocol, RequestResponseCycle
from servekit.hang_up import HUNG_UP

READS = frozenset({"GET", "HEAD"})


class AbandonedReads(HttpToolsProtocol):
    """uvicorn's protocol, which only notes that a client left; nothing runs on for nobody here.

    What others wait for too is not cancelled: shared runs are tasks of their own.
    """

    _running: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None

    def start_request(self, cycle: RequestResponseCycle, app: Any) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        self._running = (cycle, task)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is None:
            return
        cycle, task = self._running
        self._running = None
        if not cycle.response_complete and cycle.scope["method"] in READS:
            cycle.disconnected = True
            task.cancel(HUNG_UP)
