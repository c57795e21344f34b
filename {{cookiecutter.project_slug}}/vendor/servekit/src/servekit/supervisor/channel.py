"""Messages between the supervisor and a worker: small JSON, with a body of bytes where needed."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

FRAME = struct.Struct("!II")
LIMIT_BYTES = 256 * 2**20
BODY_BYTES_MAX = LIMIT_BYTES - 2**20  # the rest is for the head


class Channel:
    """One end of a socket pair; the other end's death ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: dict[str, Any], body: bytes = b"") -> None:
        """Queue a message; never waits, and forgets it when the other end is gone.

        Raises:
            ValueError: It is longer than the other end takes.
        """
        if len(body) > BODY_BYTES_MAX:
            mib = len(body) / 2**20
            raise ValueError(
                f"{mib:.0f} MiB are more than the {BODY_BYTES_MAX / 2**20:.0f} allowed"
            )
        if not self._writer.is_closing():
            self._writer.write(encode(message, body))

    async def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Wait for a message and its body; None when the other end is gone."""
        try:
            head_size, body_size = FRAME.unpack(await self._reader.readexactly(FRAME.size))
            if head_size + body_size > LIMIT_BYTES:
                return None
            head = json.loads(await self._reader.readexactly(head_size))
            return head, await self._reader.readexactly(body_size)
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def flush(self) -> None:
        """Wait until what was queued is on its way."""
        try:
            await self._writer.drain()
        except OSError:
            return

    def close(self) -> None:
        """Close this end; what was queued is still sent."""
        self._writer.close()


def encode(message: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a message as it travels: two lengths, JSON, bytes."""
    head = json.dumps(message, separators=(",", ":")).encode()
    return FRAME.pack(len(head), len(body)) + head + body
