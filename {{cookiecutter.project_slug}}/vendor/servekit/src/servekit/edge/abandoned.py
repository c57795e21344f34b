"""What becomes of a request whose client has left: a read is cancelled, a write is finished.

A read whose answer has begun is told of it, as by uvicorn: streams end themselves, and what is to
run after them runs.

One that has closed its connection in order looks like one that only sends no more, until something
is written to it. So it has left if a second passes in which nothing is.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, cast

from servekit.foreign.uvicorn import HttpToolsProtocol, RequestResponseCycle
from servekit.hang_up import HUNG_UP, READS, end_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.edge.cycle import CheckedCycle

HALF_CLOSED_SECONDS = 1.0
"""Time for the next piece of an answer whose client has closed its side."""


class AbandonedReads(HttpToolsProtocol):
    """uvicorn's protocol, which only notes that a client left; nothing runs on for nobody here.

    What others wait for too is not cancelled: shared runs are tasks of their own.
    """

    refused = in_headers = in_body = False
    half_closed = False
    """Whether the client has said that it sends no more."""
    _running: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._context = contextvars.copy_context()

    def in_own_context(self, function: Callable[[], None]) -> None:
        """Call in the context of the connection: that of a request before may be around us."""
        self._context.copy().run(function)

    def start_request(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start a request, in the connection's context as well."""
        task = self.loop.create_task(cycle.run_asgi(app), context=self._context.copy())
        self._running = (cycle, task)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def drop_unfinished(self) -> None:
        """Take a request that is refused while it is read out of the queue, and read no further."""
        if self.in_body and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self.running_cycle  # type: ignore[assignment] # one runs
        self.in_headers = self.in_body = False

    @property
    def answering(self) -> bool:
        """Whether a request is under way that deserves its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio has it, not uvicorn
        """Note that the client sends no more; return whether it can still be answered."""
        if self.refused or self.in_headers or self.in_body or not self.answering:
            self.transport.close()
            return False
        self.half_closed = True
        self._look_again()
        return True

    def linger(self) -> None:
        """End our side and let the client read: closing on unread data would destroy the answer."""
        self.refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    @property
    def running_cycle(self) -> CheckedCycle | None:
        """The request that runs; others may wait behind it, of which `cycle` is the last."""
        if self._running is None or self._running[0].response_complete:
            return None
        return cast("CheckedCycle", self._running[0])  # a worker makes no other

    def _look_again(self) -> None:
        cycle = self.running_cycle
        pieces = 0 if cycle is None else cycle.pieces
        self.loop.call_later(HALF_CLOSED_SECONDS, self._look_after_half_closed, cycle, pieces)

    def _look_after_half_closed(self, cycle: CheckedCycle | None, pieces: int) -> None:
        if not self.answering or self.transport.is_closing():
            return
        if (
            cycle is None
            or self.running_cycle is not cycle
            or cycle.pieces != pieces
            or self.transport.get_write_buffer_size()
        ):
            self._look_again()
        elif cycle.response_started or cycle.scope["method"] in READS:
            self.transport.close()
        else:
            cycle.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is None:
            return
        cycle, task = self._running
        self._running = None
        if not cycle.response_complete:  # uvicorn tells the last one that was sent
            cycle.disconnected = True
            cycle.message_event.set()
        if not cycle.response_started and cycle.scope["method"] in READS:
            end_request(task, HUNG_UP)
