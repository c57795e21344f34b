"""A TCP proxy with faults: the network that a test needs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards 127.0.0.1 to a server, with faults that take effect at once.

    `upstream` is "host:port" or the path of a unix socket. Set `latency_seconds` (each way),
    `failing` (the share of connections that are reset at their next request) or `black_hole` (bytes
    are taken and go nowhere); `refuse`, `accept` and `reset` are methods.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.latency_seconds = 0.0
        self.failing = 0.0
        self.black_hole = False
        self.accepted = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening and reset what is open, as a server that is down does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Reset every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._forward(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.upstream.rpartition(":")
        opened = (
            asyncio.open_connection(host, int(port))
            if port.isdigit()
            else asyncio.open_unix_connection(self.upstream)
        )
        upstream_reader, upstream_writer = await opened
        pair = {writer, upstream_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, upstream_writer, pair, asks=True))
                pumps.create_task(self._pump(upstream_reader, writer, pair, asks=False))
        finally:
            for end in pair:
                end.transport.abort()
            self._writers -= pair

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
        *,
        asks: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if asks and self.failing and random.random() < self.failing:
                    break
                if self.black_hole:
                    continue
                if self.latency_seconds:
                    # By timer, so that bytes on the way do not hold up those behind them.
                    loop.call_later(self.latency_seconds, _write, writer, data)
                else:
                    _write(writer, data)
        for end in pair:
            end.transport.abort()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)
