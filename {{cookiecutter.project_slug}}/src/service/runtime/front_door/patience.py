"""How long a client may take: for headers, body and next request, and to read an answer."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.runtime.front_door.protocol import FrontDoor
    from service.runtime.workers.options import WorkerLimits

SWEEP_SECONDS = 0.5
EARLY = 0.9
LINGER_SECONDS = 1.0
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

    def idle_seconds(self, now: float) -> float:
        """Return how long the connection has waited for a request or the rest of its headers."""
        return now - self._since if self._phase[0] in ("headers", "idle") else 0.0

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
        return -self._door.transport.get_write_buffer_size() if phase == "write" else 0

    def _end(self, phase: str, now: float) -> None:
        if phase in ("body", "write"):
            progress = self._progress(phase)
            if progress - self._mark >= self._limits.body_bytes_per_second * (now - self._since):
                self._since, self._mark = now, progress
                return
        if phase == "body" or (phase == "headers" and self._door.in_headers):
            self._door.refuse(408)
        elif phase == "idle":
            self._door.transport.close()
        else:
            self._reset()

    def _reset(self) -> None:
        """Abort, and have the kernel forget what it would go on offering to a client gone deaf."""
        handle = self._door.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._door.transport.abort()


def door_paused(door: FrontDoor) -> bool:
    """Whether we stopped reading because the application has not taken what came."""
    return door.flow.read_paused
