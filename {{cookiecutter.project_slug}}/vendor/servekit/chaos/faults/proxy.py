"""A TCP proxy with toxics, to stand between the service and its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from types import TracebackType
from typing import Self

PIECE = 65_536
GREETING = re.compile(rb"HELLO|SETINFO")
GET = re.compile(rb"\*2\r\n\$3\r\nGET\r\n\$\d+\r\n([^\r]+)", re.IGNORECASE)


class ToxicProxy:
    """Forward connections to a unix socket or a TCP address, badly when told to.

    Set the toxics at any time; they hold for open connections too. `fail_ratio` is the share of
    commands whose connection is reset; greetings pass.
    """

    def __init__(self, upstream: str | tuple[str, int]) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.latency_seconds = 0.0
        self.black_hole = False
        self.fail_ratio = 0.0
        self.accepted_at: list[float] = []
        self.requests = 0
        self.reads: Counter[bytes] = Counter()
        """How often each key was asked for by GET."""

    @property
    def url(self) -> str:
        """The Redis URL of this proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.down()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse new connections and reset the open ones."""
        if self._server is not None:
            self._server.close()
        self.reset()

    def reset(self) -> None:
        """Cut every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_at.append(time.monotonic())
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._upstream, str):
                upstream = await asyncio.open_unix_connection(self._upstream)
            else:
                upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        up_reader, up_writer = upstream
        self._writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pipe(reader, up_writer, counted=True))
                tasks.create_task(self._pipe(up_reader, writer, counted=False))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= {writer, up_writer}
            for each in (writer, up_writer):
                each.transport.abort()

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        while piece := await reader.read(PIECE):
            if counted:
                self.requests += 1
                self.reads.update(GET.findall(piece))
                if random.random() < self.fail_ratio and not GREETING.search(piece):
                    raise ConnectionResetError
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
            while self.black_hole:  # noqa: ASYNC110 - a flag that tests set at any time
                await asyncio.sleep(0.01)
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        raise EOFError
