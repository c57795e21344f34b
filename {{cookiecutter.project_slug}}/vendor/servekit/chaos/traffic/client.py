"""A small HTTP/1.1 client that can be rude: it keeps, halves and cuts connections on purpose."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import Self

PID = re.compile(rb'"pid":(\d+)')


@dataclass(frozen=True)
class Request:
    """What is sent; `body` carries its length."""

    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self, host: str = "localhost") -> bytes:
        """Return the bytes of the request."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What came back; header names are lower case, the last of a name wins."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def worker(self) -> int:
        """The process that answered, where a route of chaos did; else 0."""
        found = PID.search(self.body)
        return int(found[1]) if found else 0

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.worker = 0
        """The process behind it, once one has answered."""

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Self:
        """Connect to (host, port)."""
        return cls(*await asyncio.open_connection(*address))

    @property
    def usable(self) -> bool:
        """Whether the other side has not closed it."""
        return not self.reader.at_eof() and not self.writer.is_closing()

    def close(self) -> None:
        """Close without waiting."""
        self.writer.close()

    def reset_when_closed(self) -> None:
        """Have the kernel tell the other side at the end that nobody is here any more."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def exchange(self, request: Request) -> Answer:
        """Send a request and read its whole answer.

        Raises:
            EOFError: The connection was closed before the answer was complete.
            OSError: It was reset.
        """
        self.writer.write(request.encode())
        answer = await self.read_answer(head_only=request.method == "HEAD")
        self.worker = answer.worker or self.worker
        return answer

    async def read_answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer, its body included."""
        head = await self._read_head()
        while head.split(b" ", 2)[1] == b"100":
            head = await self._read_head()
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(status_line.split(" ", 2)[1])
        body = b"" if head_only or status in {204, 304} else await self._read_body(headers)
        return Answer(status, headers, body)

    async def _read_head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self.reader.read()
        pieces = []
        while size := int(await self.reader.readuntil(b"\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(pieces)
