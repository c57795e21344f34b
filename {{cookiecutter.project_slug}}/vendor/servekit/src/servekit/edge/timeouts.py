"""How long a client may take: for headers, body and next request, and to read an answer."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Protocol

from servekit.edge.refusals import CROWDED_OUT, SLOW_BODY, SLOW_HEAD

if TYPE_CHECKING:
    import asyncio

    from servekit.edge.limits import ConnectionLimits
    from servekit.edge.refusals import Refusal
    from servekit.foreign.uvicorn import FlowControl, RequestResponseCycle

SWEEP_SECONDS = 0.5
EARLY = 0.9
LINGER_SECONDS = 1.0
DRAINED_BYTES = 49_152  # between uvicorn's marks for a full and for an empty buffer
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TimedConnection(Protocol):
    """What is read of a connection, and done to one whose client takes too long."""

    transport: asyncio.Transport
    flow: FlowControl
    cycle: RequestResponseCycle
    requests_begun: int
    body_bytes: int
    write_resumptions: int
    """How often a client read so much that more could be written."""
    in_headers: bool
    in_body: bool
    refused: bool

    @property
    def answering(self) -> bool:
        """Whether a request is under way that deserves its answer."""

    def refuse(self, refusal: Refusal) -> None:
        """Answer on behalf of the application, then close."""


class ConnectionTimeouts:
    """The clock of one connection, read by the worker's sweep and never by a request.

    A sweep that finds the connection in the phase in which the last one found it compares the time
    since with the phase's limit. Limits are reached up to a quarter early, never late.
    """

    def __init__(self, connection: TimedConnection, limits: ConnectionLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._phase: tuple[str, int] = ("", 0)
        self._phase_began = 0.0
        self._request_began = 0.0
        self._progress_at_start = 0

    def check(self, now: float) -> None:
        """Compare, and end the connection of a client that took too long."""
        phase = (self._current_phase(), self._connection.requests_begun)
        if phase != self._phase:
            if phase[1] != self._phase[1]:
                self._request_began = now
            self._phase, self._phase_began, self._progress_at_start = (
                phase,
                now,
                self._progress(phase[0]),
            )
            return
        limit = self._limit(phase[0])
        # The phase began up to a sweep before it was first seen, and this sweep may be late too.
        if limit is None or now - self._phase_began < min(
            limit * EARLY, limit - 2 * min(SWEEP_SECONDS, limit / 8)
        ):
            return
        self._end(phase[0], now)

    def stalled_seconds(self, now: float) -> float:
        """Return how long the client has kept the connection waiting; 0 while it does its part."""
        phase, seconds = self._phase[0], now - self._phase_began
        if phase in ("headers", "idle") or (phase in ("body", "write") and self._is_slow(now)):
            return seconds
        return 0.0

    def request_seconds(self, now: float) -> float:
        """Return the age of the request under way, up to a sweep too little."""
        seen = self._phase[1] == self._connection.requests_begun
        return now - self._request_began if seen else 0.0

    def close_to_make_room(self) -> None:
        """End the connection early, because others wait for a place."""
        connection = self._connection
        if self._phase[0] == "write":
            reset(connection.transport)
        elif connection.in_headers or connection.in_body:
            connection.refuse(CROWDED_OUT)
        else:
            connection.transport.close()

    def _current_phase(self) -> str:
        connection = self._connection
        unread = connection.transport.get_write_buffer_size()
        if connection.refused:
            return "write" if unread else "linger"
        if connection.transport.is_closing() or connection.flow.write_paused:
            return "write"
        if connection.in_headers or not connection.requests_begun:
            return "headers"
        if connection.in_body:
            return "body" if self._waits_for_body() else "answer"
        if connection.answering:
            return "answer"
        return "write" if unread else "idle"

    def _waits_for_body(self) -> bool:
        """Whether it is the client that we wait for, not the application or its 100 Continue."""
        paused = self._connection.flow.read_paused  # the application has not taken what came
        return not paused and not self._connection.cycle.waiting_for_100_continue

    def _limit(self, phase: str) -> float | None:
        return {
            "linger": LINGER_SECONDS,
            "write": self._limits.body_seconds,
            "headers": self._limits.header_seconds,
            "body": self._limits.body_seconds,
            "idle": self._limits.keep_alive_seconds,
        }.get(phase)

    def _progress(self, phase: str) -> int:
        """Return a count that grows as the client sends its body, or reads our answer."""
        if phase == "body":
            return self._connection.body_bytes
        if phase == "write":
            unread = unread_bytes(self._connection.transport)
            return self._connection.write_resumptions * DRAINED_BYTES - unread
        return 0

    def _is_slow(self, now: float) -> bool:
        """Whether the client sent or read less than it must since the phase began."""
        progress = self._progress(self._phase[0]) - self._progress_at_start
        return progress < self._limits.body_bytes_per_second * (now - self._phase_began)

    def _end(self, phase: str, now: float) -> None:
        if phase in ("body", "write") and not self._is_slow(now):
            self._phase_began, self._progress_at_start = now, self._progress(phase)
            return
        if phase == "body" or (phase == "headers" and self._connection.in_headers):
            self._connection.refuse(SLOW_BODY if phase == "body" else SLOW_HEAD)
        elif phase == "idle":
            self._connection.transport.close()
        elif phase == "write":
            reset(self._connection.transport)
        else:
            self._connection.transport.abort()


class LastWords:
    """What a WebSocket that is being closed has still to send: its client may never read it."""

    def __init__(self, transport: asyncio.Transport, limits: ConnectionLimits, now: float) -> None:
        self._transport = transport
        self._limits = limits
        self._began, self._left = now, unread_bytes(transport)

    def check(self, now: float) -> None:
        """Compare with the limits of an answer, and end the connection of a client gone deaf."""
        seconds = now - self._began
        if seconds < self._limits.body_seconds:
            return
        left = unread_bytes(self._transport)
        if self._left - left < self._limits.body_bytes_per_second * seconds:
            reset(self._transport)
        self._began, self._left = now, left


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how much of what was written has not arrived.

    What the transport still has is no measure: the system takes it in steps of 64 KiB.
    """
    count = transport.get_write_buffer_size()
    handle = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, ValueError):  # of a closed one; where a system has no such
        queued = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, bytes(4))
        count += int.from_bytes(queued, sys.byteorder)
    return count


def reset(transport: asyncio.Transport) -> None:
    """Abort, and have the kernel forget what it would go on offering to a client gone deaf."""
    handle = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
