"""A service beside the one under test, which does not always answer."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

BODY = b'{"EUR": 1.0, "USD": 1.1}'
SILENT = b"/silent"


class Neighbour:
    """Answer any request after `seconds`, but one for `/silent` never."""

    def __init__(self, *, seconds: float = 0.01) -> None:
        self._seconds = seconds
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.split(b" ", 2)[1].startswith(SILENT):
                    await reader.read()  # until the caller gives up
                    break
                await asyncio.sleep(self._seconds)
                length = b"Content-Length: %d\r\n\r\n" % len(BODY)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + length + BODY
                )
        writer.close()
