"""Answers that a connection gives before there is a scope or a task for the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from servekit.edge.head import JOINED_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container, Sequence

    import httptools

    from servekit.edge.head import Header
    from servekit.foreign.uvicorn import FlowControl, ServerState

INSTANT_LIMIT = 16
"""Answers that are given without a turn of the loop, to one client that sent many requests."""


class Instant(Protocol):
    """What answers a GET before there is a scope for it, if it can."""

    @property
    def targets(self) -> Container[bytes]:
        """Request targets that are worth asking about."""

    def answer(
        self,
        target: bytes,
        fields: list[Header],
        client: tuple[str, int] | None,
        defaults: Sequence[Header],
        /,
    ) -> tuple[bytes, bytes] | None:
        """Return head and body, or None; `defaults` are fields of every answer of the server."""


class NeverInstant:
    """Leaves every request to the application."""

    targets: frozenset[bytes] = frozenset()

    def answer(self, *_request: object) -> None:
        """Answer nothing."""


class InstantConnection(Protocol):
    """What is read of a connection, and done to one that is answered."""

    parser: httptools.HttpRequestParser
    url: bytes
    headers: list[Header]
    client: tuple[str, int] | None
    flow: FlowControl
    transport: asyncio.Transport
    server_state: ServerState
    instant_left: int
    in_headers: bool
    in_body: bool

    @property
    def answering(self) -> bool:
        """Whether a request is under way that deserves its answer."""

    def on_response_complete(self) -> None:
        """Go on with what comes after an answer."""


def answer_instantly(connection: InstantConnection, instant: Instant, version: str) -> bool:
    """Answer the request whose head was read; return False if it goes to the application."""
    parser = connection.parser
    if (
        parser.get_method() != b"GET"
        or version != "1.1"
        or not parser.should_keep_alive()
        or connection.answering
        or connection.flow.write_paused
        or not connection.instant_left
        or connection.transport.is_closing()
    ):
        return False
    answer = instant.answer(
        connection.url,
        connection.headers,
        connection.client,
        connection.server_state.default_headers,
    )
    if answer is None:
        return False
    connection.in_headers, connection.in_body = False, True
    connection.instant_left -= 1
    head, body = answer
    if len(body) <= JOINED_BYTES:
        connection.transport.write(head + body)
    else:
        connection.transport.write(head)
        connection.transport.write(body)
    connection.on_response_complete()
    return True
