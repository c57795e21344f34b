"""What a service tells systemd, and the sockets that it is given by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

FIRST_FD = 3


class Notifier:
    """Tells whoever started the service how it goes, where NOTIFY_SOCKET says that it listens."""

    def __init__(self) -> None:
        # Not for children: a worker is not the service.
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        microseconds = os.environ.pop("WATCHDOG_USEC", "0")
        self.watchdog_seconds = int(microseconds) / 1e6 if watched and self._address else 0.0

    def started(self) -> None:
        """The service answers."""
        self._send("READY=1")

    def happened(self, event: str) -> None:
        """Pass on what the supervisor logs, where systemd has a word for it."""
        match event:
            case "reload_begins":
                microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")
            case "reload_done":
                self._send("READY=1\nSTATUS=the new code serves")
            case "reload_failed":
                self._send("READY=1\nSTATUS=new code does not start; the old serves on")
            case "stop_begins":
                self._send("STOPPING=1")

    async def keep_alive(self) -> None:
        """Say twice in each watchdog period that the supervisor's loop turns."""
        while self.watchdog_seconds:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),  # nobody listens any more, or not now; no descriptor
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            client.setblocking(False)
            client.sendto(state.encode(), address)


def passed_sockets() -> list[socket.socket]:
    """Return the listening sockets that the service was started with, once."""
    count, owner = os.environ.pop("LISTEN_FDS", "0"), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid()):
        return []
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + int(count))]
    for each in sockets:
        each.setblocking(False)
        os.set_inheritable(each.fileno(), False)
    return sockets
