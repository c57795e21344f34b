"""How long a client may take: for headers, body and next request, and to read an answer."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.edge.protocol import FrontDoor
    from servekit.workers.options import WorkerLimits

SWEEP_SECONDS = 0.5
EARLY = 0.9
LINGER_SECONDS = 1.0
DRAINED_BYTES = 49_152  # between uvicorn's marks for a full and for an empty buffer
LINGER_NOT = struct.pack("ii", 1, 0)


class Patience:
    """The clock of one connection, read by the worker's sweep and never by a request.

    A sweep that finds the connection in the phase in which the last one found it compares the time
    since with the phase's limit. Limits are reached up to a quarter early, never late.
    """

    def __init__(self, door: FrontDoor, limits: WorkerLimits) -> None:
        self._door = door
        self._limits = limits
        self._phase: tuple[str, int] = ("", 0)
        self._since = 0.0
        self._mark = 0

    def check(self, now: float) -> None:
        """Compare, and end the connection of a client that took too long."""
        phase = (self._name(), self._door.requests_begun)
        if phase != self._phase:
            self._phase, self._since, self._mark = phase, now, self._progress(phase[0])
            return
        limit = self._limit(phase[0])
        # The phase began up to a sweep before it was first seen, and this sweep may be late too.
        if limit is None or now - self._since < min(
            limit * EARLY, limit - 2 * min(SWEEP_SECONDS, limit / 8)
        ):
            return
        self._end(phase[0], now)

    def stalled_seconds(self, now: float) -> float:
        """Return how long the client has kept the connection waiting; 0 while it does its part."""
        phase, seconds = self._phase[0], now - self._since
        if phase in ("headers", "idle") or (phase in ("body", "write") and self._is_slow(now)):
            return seconds
        return 0.0

    def end_to_make_room(self) -> None:
        """End the connection early, because others wait for a place."""
        door = self._door
        if self._phase[0] == "write":
            self._reset()
        elif door.in_headers or door.in_body:
            door.refuse(408)
        else:
            door.transport.close()

    def _name(self) -> str:
        door = self._door
        if door.refused:
            return "linger"
        if door.transport.is_closing() or door.flow.write_paused:
            return "write"
        if door.in_headers or not door.requests_begun:
            return "headers"
        if door.in_body:
            return "body" if self._waits_for_body() else "answer"
        if door.answering:
            return "answer"
        return "write" if door.transport.get_write_buffer_size() else "idle"

    def _waits_for_body(self) -> bool:
        """Whether it is the client that we wait for, not the application or its 100 Continue."""
        return not door_paused(self._door) and not self._door.cycle.waiting_for_100_continue

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
            return self._door.body_bytes
        if phase == "write":
            buffered = self._door.transport.get_write_buffer_size()
            return self._door.gate.drains * DRAINED_BYTES - buffered
        return 0

    def _is_slow(self, now: float) -> bool:
        """Whether the client sent or read less than it must since the phase began."""
        progress = self._progress(self._phase[0]) - self._mark
        return progress < self._limits.body_bytes_per_second * (now - self._since)

    def _end(self, phase: str, now: float) -> None:
        if phase in ("body", "write") and not self._is_slow(now):
            self._since, self._mark = now, self._progress(phase)
            return
        if phase == "body" or (phase == "headers" and self._door.in_headers):
            self._door.refuse(408)
        elif phase == "idle":
            self._door.transport.close()
        elif phase == "write":
            self._reset()
        else:
            self._door.transport.abort()

    def _reset(self) -> None:
        """Abort, and have the kernel forget what it would go on offering to a client gone deaf."""
        handle = self._door.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._door.transport.abort()


def door_paused(door: FrontDoor) -> bool:
    """Whether we stopped reading because the application has not taken what came."""
    return door.flow.read_paused
