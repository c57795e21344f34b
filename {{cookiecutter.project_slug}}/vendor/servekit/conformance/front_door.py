"""A plugin of pytest: what asks uvicorn for its httptools protocol gets that of our workers."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from conformance.outcomes import passed_through
from servekit.edge.limits import ConnectionLimits
from servekit.edge.options import ProtocolOptions, cycle_factory
from servekit.edge.protocol import HttpProtocol
from servekit.edge.refusals import Refusals
from servekit.edge.websockets import make_websocket
from servekit.layers.security_headers import default_security_headers

HEADERS = default_security_headers()
LIMITS = ConnectionLimits(header_bytes=2**20)  # a test sends 64 KiB
OPTIONS = ProtocolOptions(LIMITS, Refusals(HEADERS), cycle_factory(HEADERS))


class NoListener:
    """A listener that counts nothing."""

    def connection_opened(self) -> None:
        """Count nothing."""

    def connection_closed(self) -> None:
        """Count nothing."""


class FrontDoor(HttpProtocol):
    """Our protocol, made as uvicorn makes its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        listener: Any = NoListener()
        super().__init__(config, server_state, app_state, _loop, options=OPTIONS, listener=listener)

        websocket: Any = self.ws_protocol_class
        if websocket is not None:
            self.ws_protocol_class = functools.partial(make_websocket, websocket, HEADERS)  # type: ignore[assignment] # called alike

    def connection_made(self, transport: Any) -> None:
        """Count the connection."""
        passed_through["count"] += 1
        super().connection_made(transport)


def pytest_configure() -> None:
    """Take the place of uvicorn's protocol."""
    httptools_impl.HttpToolsProtocol = FrontDoor  # type: ignore[misc] # what a plugin is for


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests' imitations what real transports and tasks have, and uvicorn never asks."""
    modules: set[Any] = {getattr(item, "module", None) for item in items}
    for module in modules:
        if hasattr(module, "MockTransport"):
            module.MockTransport.writelines = write_lines
            module.MockTransport.can_write_eof = lambda _: False
            module.MockTask.cancel = lambda *_: True
            module.MockLoop.create_task = functools.partialmethod(
                create_task, create=module.MockLoop.create_task
            )


def write_lines(transport: Any, pieces: list[bytes]) -> None:
    """Write pieces one after the other."""
    transport.write(b"".join(pieces))


def create_task(loop: Any, coroutine: Any, *, create: Any, context: Any = None) -> Any:  # noqa: ARG001 - as a loop has it
    """Create a task, in whatever context."""
    return create(loop, coroutine)
