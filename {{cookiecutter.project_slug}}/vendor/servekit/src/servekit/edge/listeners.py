"""Even accepting: a worker takes connections itself, and leaves some to a less loaded sibling."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from servekit.edge.board import Cell

PATIENCE_SECONDS = 0.005
PATIENT_TURNS = 4
BATCH_LIMIT = 64
ERROR_PAUSE_SECONDS = 0.05


class Listener:
    """Accepts from a socket that every worker shares.

    A worker with clearly more connections than the least loaded one looks away for five
    milliseconds, then takes one of those still waiting. While the sibling does not move at all, it
    takes ever more at a time: a blocked sibling costs a new connection five milliseconds, no more.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol_factory: Callable[[Listener], asyncio.Protocol],
        *,
        cell: Cell,
        limit: int,
        connections: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._factory = protocol_factory
        self._cell = cell
        self._limit = limit
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self.full = False
        self._turns = 0
        self._least_seen: int | None = None
        self.accepting = False

    def open(self) -> None:
        """Begin to accept."""
        self.accepting = True
        self.publish()
        self._watch()

    def close(self) -> None:
        """Stop accepting; open connections live on."""
        if self.accepting:
            self.accepting = False
            self._look_away()
            self._cell.leave()

    async def sweep(self) -> None:
        """Take every connection that the kernel has completed already: nobody else will."""
        while self._accept():
            pass
        if self._tasks:
            await asyncio.wait(self._tasks)

    def publish(self) -> None:
        """Tell the siblings how many connections are open."""
        if self.accepting:
            self._cell.write(self._count())

    def connection_opened(self) -> None:
        """Count one less that is about to be a connection: uvicorn counts it now."""
        self._opening -= 1

    def connection_closed(self) -> None:
        """Tell the siblings, and take connections again if the limit had been reached."""
        self.publish()
        if self.full and self._count() < self._limit:
            self.full = False
            self._watch()

    def _count(self) -> int:
        return self._connections() + self._opening

    def _watch(self) -> None:
        self._pause = None
        if self.accepting:
            self._loop.add_reader(self._listener, self._readable)

    def _look_away(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _look_away_for(self, seconds: float, then: Callable[[], None]) -> None:
        self._look_away()
        self._pause = self._loop.call_later(seconds, then)

    def _readable(self) -> None:
        for _ in range(BATCH_LIMIT):
            if self._is_full():
                return
            if self._has_less_loaded_sibling():
                self._look_away_for(PATIENCE_SECONDS, self._take_what_is_left)
                return
            self._turns = 0
            if not self._accept():
                return

    def _is_full(self) -> bool:
        if self._count() >= self._limit:
            self.full = True
            self._look_away()
        return self.full

    def _has_less_loaded_sibling(self) -> bool:
        least = self._cell.least_of_others()
        if least != self._least_seen:
            self._least_seen, self._turns = least, 0
        # One more than the least, and an eighth, is even enough and saves waiting.
        return least is not None and self._count() > least + least // 8

    def _take_what_is_left(self) -> None:
        self._pause = None
        if self._has_less_loaded_sibling():
            self._turns += 1
            for _ in range(min(BATCH_LIMIT, 2 ** max(0, self._turns - PATIENT_TURNS))):
                if self._is_full() or not self._accept():
                    break
        if self._pause is None and not self.full:
            self._watch()

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False
        except OSError:
            # No descriptor left: the connection stays in the backlog until one is free again.
            if self.accepting:
                self._look_away_for(ERROR_PAUSE_SECONDS, self._watch)
            return False
        connection.setblocking(False)
        self._opening += 1
        self.publish()
        task = self._loop.create_task(self._open(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._factory(self), connection)
        except OSError:
            connection.close()
            self.connection_opened()
