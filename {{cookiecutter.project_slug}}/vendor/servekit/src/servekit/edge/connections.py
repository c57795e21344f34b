"""The open connections of a worker: swept for slow clients, and led to their end when it drains."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
from typing import TYPE_CHECKING, Any

from servekit.edge.protocol import HttpProtocol
from servekit.edge.timeouts import LastWords
from servekit.foreign.uvicorn import served_by

if TYPE_CHECKING:
    from servekit.edge.limits import ConnectionLimits
    from servekit.foreign.uvicorn import RequestResponseCycle, ServerState

STALLED_SECONDS = 1.0


class Connections:
    """What is connected and what is running, on top of uvicorn's own books."""

    def __init__(self, state: ServerState, limits: ConnectionLimits) -> None:
        self._state = state
        self._limits = limits
        self._websockets_closing: set[Any] = set()
        self._last_words: dict[Any, LastWords] = {}

    def count(self) -> int:
        return len(self._state.connections)

    @property
    def requests_total(self) -> int:
        """Requests answered since the start."""
        return self._state.total_requests

    def http_connections(self) -> list[HttpProtocol]:
        """Return the HTTP connections; WebSockets have got another protocol."""
        return [
            connection
            for connection in self._state.connections
            if isinstance(connection, HttpProtocol)
        ]

    def check_timeouts(self, now: float) -> None:
        """End the connections of clients that took too long."""
        ending = {}
        for connection in list(self._state.connections):
            if isinstance(connection, HttpProtocol):
                connection.timeouts.check(now)
            elif (transport := connection.transport).is_closing():
                words = self._last_words.get(connection)
                ending[connection] = words or LastWords(transport, self._limits, now)
        self._last_words = ending
        for words in ending.values():
            words.check(now)

    def make_room(self, now: float) -> None:
        """Close a quarter of the connections: those whose clients kept a place longest for nothing.

        A quarter, twice a second: whoever waits behind a crowd of them is let in within seconds.
        """
        stalled = [
            (connection.timeouts.stalled_seconds(now), connection)
            for connection in self.http_connections()
        ]
        stalled = [entry for entry in stalled if entry[0] >= STALLED_SECONDS]
        stalled.sort(key=lambda entry: entry[0], reverse=True)
        for _, connection in stalled[: max(1, self.count() // 4)]:
            connection.timeouts.close_to_make_room()

    def running(self) -> list[str]:
        """Return the requests under way, as `GET /path`: those whose clients have left too."""
        scopes = [getattr(served_by(task), "scope", None) for task in self._state.tasks]
        return [f"{scope.get('method', 'WEBSOCKET')} {scope['path']}" for scope in scopes if scope]

    def oldest(self, now: float, count: int) -> list[tuple[float, RequestResponseCycle]]:
        """Return the requests that have been under way for longest, with their age in seconds."""
        answering = [
            (connection.timeouts.request_seconds(now), cycle)
            for connection, cycle in self._under_way()
        ]
        return heapq.nlargest(count, answering, key=lambda entry: entry[0])

    def _under_way(self) -> list[tuple[HttpProtocol, RequestResponseCycle]]:
        """Return each connection on which something runs, with the request that does."""
        found = [(connection, connection.running_cycle) for connection in self.http_connections()]
        return [(connection, cycle) for connection, cycle in found if cycle is not None]

    def close_idle(self) -> None:
        """Close what waits for a next request, and say goodbye (1012) to every WebSocket."""
        for connection in list(self._state.connections):
            if not isinstance(connection, HttpProtocol):
                if connection not in self._websockets_closing:
                    self._websockets_closing.add(connection)
                    say_goodbye(connection)
            elif not connection.answering:
                close_unless_in_use(connection)
            elif not connection.cycle.response_started:  # else its client counts on another
                connection.cycle.keep_alive = False

    def _cut_event_streams(self) -> None:
        """Cut event streams before their handlers can end them: clients of a cut one come again."""
        for connection, cycle in self._under_way():
            if cycle.response_started and getattr(cycle, "event_stream", False):
                cycle.disconnected = True
                cycle.message_event.set()
                connection.transport.close()

    async def finish(self, seconds: float) -> bool:
        """Wait until nothing is connected and nothing runs; False when time was up first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._state.connections or self._state.tasks:
                    self.close_idle()
                    await asyncio.sleep(0.02)
        return not (self._state.connections or self._state.tasks)

    async def cancel(self) -> None:
        """Cancel what still runs and drop what is still connected."""
        self._cut_event_streams()
        for task in self._state.tasks:
            task.cancel("The worker's time to drain is over.")
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=0.5)
        for connection in list(self._state.connections):
            connection.transport.abort()


def say_goodbye(websocket: Any) -> None:
    """Close a WebSocket; in a state that its library finds impossible, without a word."""
    try:
        websocket.shutdown()
    except Exception:  # noqa: BLE001 - one client's connection must not end the drain of all
        websocket.transport.abort()


def close_unless_in_use(connection: HttpProtocol) -> None:
    """Close, unless a request has arrived that the loop has not seen yet: that would lose it."""
    if connection.in_headers or connection.refused:
        return  # the sweep ends both
    if connection.in_body:
        connection.close_after_answer()  # whose client is still sending, and has yet to read it
        return
    transport = connection.transport
    handle = transport.get_extra_info("socket")
    with (
        contextlib.suppress(OSError, ValueError),
        socket.fromfd(handle.fileno(), handle.family, handle.type) as copy,
    ):
        copy.setblocking(False)
        try:
            if copy.recv(1, socket.MSG_PEEK):
                return
        except BlockingIOError:
            if not transport.get_write_buffer_size():
                # The client is told in the moment in which we looked, not a turn of the loop later.
                copy.shutdown(socket.SHUT_WR)
    transport.close()
