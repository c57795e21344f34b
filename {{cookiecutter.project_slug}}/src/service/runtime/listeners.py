"""Even accepting: a worker takes connections itself, and leaves some to a less loaded sibling."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.runtime.board import Board

PATIENCE_SECONDS = 0.002
IMPATIENCE_SECONDS = 0.01
BATCH = 64
ERROR_PAUSE_SECONDS = 0.05


class Listener:
    """Accepts from a socket that every worker shares.

    A worker with clearly more connections than the least loaded one stops looking for two
    milliseconds. What is still waiting then it takes: the others are busy, and it stays impatient
    for a moment, so that a blocked sibling costs nobody more than that.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        board: Board,
        cell: int,
        limit: int,
        connections: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._factory = protocol_factory
        self._board = board
        self._cell = cell
        self._limit = limit
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._impatient_until = 0.0
        self._full = False
        self.accepting = False

    def open(self) -> None:
        """Begin to accept."""
        self.accepting = True
        self._watch()
        self.publish()

    def close(self) -> None:
        """Take what already waits, then stop for good; open connections live on."""
        if not self.accepting:
            return
        self.accepting = False
        self._unwatch()
        self._board.leave(self._cell)

    async def sweep(self) -> None:
        """Take every connection that the kernel completed already: nobody else will."""
        while self._accept_one():
            pass
        if self._opening:
            await asyncio.wait(self._opening)

    def publish(self) -> None:
        """Tell the siblings how many connections are open."""
        if self.accepting:
            self._board.write(self._cell, self._count())

    def connection_closed(self) -> None:
        """Tell the siblings, and take connections again if the limit had been reached."""
        self.publish()
        if self._full and self._count() < self._limit:
            self._full = False
            self._watch()

    def _count(self) -> int:
        return self._connections() + len(self._opening)

    def _watch(self) -> None:
        self._pause = None
        if self.accepting:
            self._loop.add_reader(self._listener, self._readable)

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _readable(self) -> None:
        impatient = self._loop.time() < self._impatient_until
        for _ in range(BATCH):
            if self._count() >= self._limit:
                self._full = True
                self._loop.remove_reader(self._listener)
                return
            if not impatient and self._has_less_loaded_sibling():
                self._sleep(PATIENCE_SECONDS, self._be_impatient)
                return
            if not self._accept_one():
                return

    def _has_less_loaded_sibling(self) -> bool:
        least = self._board.least_of_others(self._cell)
        # One more than the least, and an eighth, is even enough and saves waiting.
        return least is not None and self._count() > least + least // 8

    def _sleep(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, then)

    def _be_impatient(self) -> None:
        self._pause = None
        if not self.accepting:
            return
        # What still waits, a sibling could have taken: it is busy, so ask for no more patience.
        if self._count() < self._limit and self._accept_one():
            self._impatient_until = self._loop.time() + IMPATIENCE_SECONDS
        if self._pause is None:
            self._watch()

    def _accept_one(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False
        except OSError:
            # No descriptor left: the connection stays in the backlog until one is free again.
            self._sleep(ERROR_PAUSE_SECONDS, self._watch)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        self.publish()
        return True

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:
            connection.close()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self.publish()
