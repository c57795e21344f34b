"""Even accepting: a worker takes connections itself, and leaves some to a less loaded sibling."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
from typing import TYPE_CHECKING

from servekit.refusal_log import RefusalLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from servekit.edge.connection_counts import OwnCount

YIELD_SECONDS = 0.005
YIELDS_ONE_AT_A_TIME = 4
BATCH_LIMIT = 64
ERROR_PAUSE_SECONDS = 0.05
REFUSED_SECONDS = 1.0


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
        own_count: OwnCount,
        limit: int,
        open_connections: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._protocol_factory = protocol_factory
        self._own_count = own_count
        self._limit = limit
        self._open_connections = open_connections
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._opening = 0
        self._log = RefusalLog()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resume_timer: asyncio.TimerHandle | None = None
        self.full = False
        self._yields = 0
        self._least_of_others: int | None = None
        self.accepting = False
        self.refused = asyncio.Event()
        """Set when the supervisor has shut the socket: the kernel refuses who comes now."""

    def open(self) -> None:
        """Begin to accept."""
        self.accepting = True
        self.publish()
        self._resume_accepting()

    def close(self) -> None:
        """Stop accepting; open connections live on."""
        if self.accepting:
            self.accepting = False
            self._pause_accepting()
            self._own_count.withdraw()

    async def accept_backlog(self) -> None:
        """Take every connection that the kernel has completed already: nobody else will."""
        while self._accept():
            pass
        await self.opened()

    async def opened(self) -> None:
        """Wait until what was accepted is a connection."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def publish(self) -> None:
        """Tell the siblings how many connections are open."""
        if self.accepting:
            self._own_count.publish(self._count())

    def connection_opened(self) -> None:
        """Count one less that is about to be a connection: uvicorn counts it now."""
        self._opening -= 1

    def connection_closed(self) -> None:
        """Tell the siblings, and take connections again if the limit had been reached."""
        self.publish()
        if self.full and self._count() < self._limit:
            self.full = False
            self._resume_accepting()

    def _count(self) -> int:
        return self._open_connections() + self._opening

    def _resume_accepting(self) -> None:
        self._resume_timer = None
        if self.accepting:
            # Not in that of the request that made room: every new connection would have it.
            self._context.run(self._loop.add_reader, self._listener, self._readable)

    def _pause_accepting(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_timer = None

    def _pause_accepting_for(self, seconds: float, callback: Callable[[], None]) -> None:
        self._pause_accepting()
        self._resume_timer = self._loop.call_later(seconds, callback)

    def _readable(self) -> None:
        for _ in range(BATCH_LIMIT):
            if self._is_full():
                return
            if self._has_less_loaded_sibling():
                self._pause_accepting_for(YIELD_SECONDS, self._accept_after_yielding)
                return
            self._yields = 0
            if not self._accept():
                return

    def _is_full(self) -> bool:
        if self._count() >= self._limit:
            self.full = True
            self._pause_accepting()
        return self.full

    def _has_less_loaded_sibling(self) -> bool:
        least = self._own_count.least_of_other_workers()
        if least != self._least_of_others:
            self._least_of_others, self._yields = least, 0
        # One more than the least, and an eighth, is even enough and saves waiting.
        return least is not None and self._count() > least + least // 8

    def _accept_after_yielding(self) -> None:
        self._resume_timer = None
        if self._has_less_loaded_sibling():
            self._yields += 1
            for _ in range(min(BATCH_LIMIT, 2 ** max(0, self._yields - YIELDS_ONE_AT_A_TIME))):
                if self._is_full() or not self._accept():
                    break
        if self._resume_timer is None and not self.full:
            self._resume_accepting()

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False
        except OSError as error:
            if error.errno == errno.EINVAL:  # it listens no more
                self.refused.set()
                self.close()
                return False
            # No descriptor left: the connection stays in the backlog until one is free again.
            self._log.say("accept", event="accept_failed", reason=error.strerror)
            if self.accepting:
                self._pause_accepting_for(ERROR_PAUSE_SECONDS, self._resume_accepting)
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
            await self._loop.connect_accepted_socket(
                lambda: self._protocol_factory(self), connection
            )
        except Exception as error:
            connection.close()
            self.connection_opened()
            if not isinstance(error, OSError):
                raise


async def until_refused(listeners: Iterable[Listener]) -> None:
    """Wait until the supervisor has shut the sockets, for a moment at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REFUSED_SECONDS):
            await asyncio.gather(*(each.refused.wait() for each in listeners))
