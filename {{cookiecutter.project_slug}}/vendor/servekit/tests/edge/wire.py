"""One request to an application behind the real protocol, and the bytes that a client reads."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, cast

import h11
from starlette.types import ASGIApp

from servekit.edge.cycle import CheckedCycle, FastHeadCycle
from servekit.edge.head import COMMON_HEADERS, HeadWriter
from servekit.edge.limits import ConnectionLimits
from servekit.edge.options import ProtocolOptions
from servekit.edge.protocol import HttpProtocol
from servekit.edge.refusals import Refusals
from servekit.worker.application import Application

WRITER = HeadWriter(COMMON_HEADERS)
CYCLES: dict[str, type[CheckedCycle]] = {"ours": FastHeadCycle, "uvicorn's": CheckedCycle}


class Wire:
    """The transport: it keeps what is written, and whether it was closed."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.writes = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        if self.closed:
            raise RuntimeError("unable to perform operation: the handler is closed")  # as uvloop
        self.written += memoryview(data)
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def get_extra_info(self, _: str) -> None:
        return None

    def pause_reading(self) -> None: ...

    resume_reading = pause_reading


class Listener:
    def connection_opened(self) -> None: ...

    connection_closed = connection_opened


@contextlib.contextmanager
def log_levels_kept() -> Iterator[None]:
    """Keep the levels that uvicorn sets for the whole process, for other tests."""
    loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("error", "access", "asgi")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class Client:
    """A connection to an application, without a network."""

    def __init__(
        self, app: ASGIApp, cycle: type[CheckedCycle] = FastHeadCycle, **options: Any
    ) -> None:
        with log_levels_kept():
            application = Application(app, keep_alive=5)
        self.wire = Wire()
        self.state = application.state
        self.protocol = HttpProtocol(
            application.config,
            application.state,
            {},
            asyncio.get_running_loop(),
            options=ProtocolOptions(
                ConnectionLimits(),
                Refusals([]),
                lambda **given: cycle(WRITER, **given),
                **options,
            ),
            listener=cast("Any", Listener()),
        )
        self.protocol.connection_made(cast("Any", self.wire))

    async def ask(self, request: bytes) -> bytes:
        """Send a request, wait until its task is over, and return what was written."""
        self.protocol.data_received(request)
        await self.all_over()
        return bytes(self.wire.written)

    async def all_over(self) -> None:
        """Wait until all tasks of its requests are over, and those that follow from them."""
        while self.state.tasks:
            # Not `gather`: of tasks that are done it is done at once, before they leave the set.
            await asyncio.wait(self.state.tasks)


def read_answer(method: str, data: bytes, *, closed: bool) -> tuple[h11.Response, bytes, bool]:
    """Return head, body and whether the answer is whole, by a strict parser of another author.

    Raises:
        h11.RemoteProtocolError: It is not HTTP, or more than one answer.
    """
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    head = parser.next_event()
    assert isinstance(head, h11.Response), head
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += event.data
    if event is h11.NEED_DATA and closed and parser.their_state is h11.SEND_BODY:
        return head, body, False
    if not isinstance(event, h11.EndOfMessage):
        return head, body, closed and is_until_close(head)
    assert parser.trailing_data[0] == b"", "something follows the answer"
    return head, body, True


def is_until_close(head: h11.Response) -> bool:
    names = {name for name, _ in head.headers}
    return not names & {b"content-length", b"transfer-encoding"}
