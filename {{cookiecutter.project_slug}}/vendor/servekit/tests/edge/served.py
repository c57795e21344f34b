"""An application on a real socket, behind the protocol, its sweep and its drain; no process."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

from starlette.types import ASGIApp

from servekit.edge.connections import Connections
from servekit.edge.cycle import FastHeadCycle
from servekit.edge.limits import ConnectionLimits
from servekit.edge.options import ProtocolOptions
from servekit.edge.protocol import HttpProtocol
from servekit.edge.refusals import Refusals
from servekit.testing import patience
from servekit.worker.application import Application
from tests.edge.wire import WRITER, Listener, log_levels_kept

SECURITY = (b"x-content-type-options", b"nosniff")


class Served:
    """The server; `connections` are its own, `state` its books."""

    def __init__(self, app: ASGIApp, **limits: Any) -> None:
        with log_levels_kept():
            self.application = Application(app, keep_alive=5, headers=[SECURITY])
        self.state = self.application.state
        self.limits = ConnectionLimits(**limits)
        self.connections = Connections(self.state, self.limits)
        self._writers: list[asyncio.StreamWriter] = []

    def _connect(self) -> HttpProtocol:
        options = ProtocolOptions(
            self.limits,
            Refusals([SECURITY], limits=self.limits),
            lambda **given: FastHeadCycle(WRITER, **given),
        )
        return HttpProtocol(
            self.application.config,
            self.state,
            {},
            asyncio.get_running_loop(),
            options=options,
            listener=cast("Any", Listener()),
        )

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sweeping.cancel()
        self._server.close()
        await self.connections.cancel()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.connections.check_timeouts(asyncio.get_running_loop().time())

    async def connect(self, data: bytes, **options: Any) -> SimpleNamespace:
        """Send; return the streams, with `rest()`, all that comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        writer.write(data)
        self._writers.append(writer)

        async def rest(seconds: float = 5) -> bytes:
            async with asyncio.timeout(patience(seconds)):
                return await reader.read()

        return SimpleNamespace(reader=reader, writer=writer, rest=rest)

    async def until(self, condition: Any, seconds: float = 5) -> None:
        """Wait for what is to become so."""
        async with asyncio.timeout(patience(seconds)):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
