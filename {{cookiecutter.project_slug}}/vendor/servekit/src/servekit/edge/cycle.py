"""One request and its answer on the wire: uvicorn's cycle, with a head that is checked first."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from servekit.edge.head import (
    BODILESS,
    FRAMING,
    JOINED_BYTES,
    REPEATED,
    STATUS_LINES,
    HeadWriter,
    frame,
    is_plain_length,
    status_line,
)
from servekit.edge.unread import UnreadAnswer
from servekit.foreign.uvicorn import RequestResponseCycle
from servekit.hang_up import READS
from servekit.scope import LEARN_HEAD_KEY, WholeStart
from servekit.unsendable import UnsendableHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servekit.edge.head import Framing, Header

CONTENT_TYPE, EVENT_STREAM = b"content-type", b"text/event-stream"
START, BODY = "http.response.start", "http.response.body"


class CheckedCycle(RequestResponseCycle):
    """uvicorn's request and answer; a head that HTTP does not allow is refused before it is begun.

    uvicorn notices it when it is too late for any answer.
    """

    def __init__(self, writer: HeadWriter, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.writer = writer
        self.bodiless = False
        self.event_stream = False
        self.pieces = 0
        """How often something of the answer was written, its head included."""
        self._left = self._received = False
        self._unread: UnreadAnswer | None = None

    def leave(self) -> None:
        """Tell whoever asks that the client has left; what is sent all the same is written."""
        self._left = True
        self.message_event.set()

    async def receive(self) -> Any:
        message: Any = None if self._left and self._received else await super().receive()
        if message is None or (self._left and self._received):
            return {"type": "http.disconnect"}
        self._received = not message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        if self._is_gone():
            self._drop(message)
            return
        self.pieces += message["type"] == START or bool(message.get("body"))
        if message["type"] == START and not self.response_started:
            message = self._checked(message)
        elif message["type"] == BODY and self.bodiless:
            message = {**message, "body": b""}
        await super().send(message)

    def _drop(self, message: Any) -> None:
        if self._unread is None:
            self._unread = UnreadAnswer(ends=self.scope["method"] in READS)
        self._unread.drop(message)

    def _is_gone(self) -> bool:
        """Tell whether nobody reads what is left of an answer; uvloop raises where one writes then.

        A client may be gone before the connection is told.
        """
        if self.transport.is_closing() and not self.response_complete:
            self.disconnected = True
        return self.disconnected

    def _checked(self, message: Any) -> Any:
        status = message["status"]
        headers: list[Header] = []
        given: list[Header] = []
        try:
            status_line(status)
            for name, value in message.get("headers", ()):
                self.writer.line(name, value)
                (given if name.lower() in FRAMING else headers).append((name.lower(), value))
                if name.lower() == CONTENT_TYPE:
                    self.event_stream = value.startswith(EVENT_STREAM)
        except (TypeError, ValueError) as error:
            raise UnsendableHead(str(error)) from error
        if any(name == b"date" for name, _ in headers):
            self.default_headers = [one for one in self.default_headers if one[0] != b"date"]
        framing = self._frame(status, given)
        if status in BODILESS:  # uvicorn would wait for a body of the length that a 304 may tell
            framing.fields[:] = [field for field in framing.fields if field[0] == b"connection"]
        return {**message, "headers": [*headers, *framing.fields]}

    def _frame(self, status: int, given: Iterable[Header]) -> Framing:
        self.bodiless = status in BODILESS
        scope = self.scope
        return frame(status, given, method=scope["method"], version=scope["http_version"])


class FastHeadCycle(CheckedCycle):
    """Our own head and body, with the rules of uvicorn's.

    uvicorn searches every name and value for bad characters, on every answer: with the security
    headers on it, that is a tenth of a small answer's cost.
    """

    transport: ResponseTransport  # type: ignore[assignment] # as its connection has it
    _by_length = False
    _until_close = False

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or (self.transport.is_closing() and self._is_gone()):
            self._drop(message)
            return
        if not self.response_started:
            if message["type"] != START:
                await super().send(message)  # which says what is wrong
            head = self._head(message["status"], message.get("headers", ()))
            self.response_started = True
            self.pieces += 1
            self.waiting_for_100_continue = False
            if self._by_length:
                self.transport.hold(head, whole=type(message) is WholeStart)
            else:
                self.transport.write(head)
            return
        if self.response_complete or message["type"] != BODY:
            await super().send(message)
        body, more = message.get("body", b""), message.get("more_body", False)
        self.pieces += bool(body)
        if self._by_length:
            left = self.expected_content_length - len(body)
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            self.expected_content_length = left
            self.transport.write_body(body)
        else:
            self._send_unmeasured(body, more=more)
        if not more:
            self._complete()

    def _send_unmeasured(self, body: bytes, *, more: bool) -> None:
        """Write a piece of a body without a length; nothing where an answer has no body."""
        if self._until_close:
            self.transport.write(body)
        if not self.chunked_encoding:
            return
        end = b"" if more else b"0\r\n\r\n"
        if body:
            self.transport.write(b"".join((b"%x\r\n" % len(body), body, b"\r\n", end)))
        elif end:
            self.transport.write(end)

    def _complete(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("Response content shorter than Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.transport = self.transport.answered
        self.on_response()

    def _head(self, status: int, headers: Iterable[Header]) -> bytes:
        lines = self._lines(status, headers)
        learn: Any = self.scope.get(LEARN_HEAD_KEY)
        if learn is not None:
            learn(lines)
        return b"".join(lines)

    def _lines(self, status: int, headers: Iterable[Header]) -> list[bytes]:
        writer = self.writer
        constant = writer.lines.get
        given: list[Header] = []
        try:
            head = [STATUS_LINES.get(status) or status_line(status)]
            for field in (*self.default_headers, *headers):
                line = constant(tuple(field))  # type: ignore[arg-type] # of whatever was given
                if line is None:
                    name, value = field
                    line = writer.line(name, value)
                    if (name := name.lower()) in FRAMING:
                        given.append((name, value))
                        continue
                    if name == CONTENT_TYPE:
                        self.event_stream = value.startswith(EVENT_STREAM)
                    if name == b"date" and head[1:] and head[1].startswith(b"date:"):
                        head[1] = b""  # the server's, which stands first: the answer's own wins
                    elif name in REPEATED and not self.event_stream:
                        writer.remember(field, line)
                head.append(line)
        except (TypeError, ValueError) as error:
            raise UnsendableHead(str(error)) from error
        if is_plain_length(given) and status not in BODILESS and self.scope["method"] != "HEAD":
            # As nearly all answers are framed, and what the rules below would say of it.
            [(_, value)] = given
            head.append(b"content-length: %b\r\n" % value)
            self.expected_content_length = int(value)
            self.chunked_encoding, self._by_length = False, True
            closing = False
        else:
            closing = self._apply(self._frame(status, given), head)
        if not (self.keep_alive or closing):
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")
        return head

    def _apply(self, framing: Framing, head: list[bytes]) -> bool:
        """Frame the answer so; return whether its head says that the connection closes."""
        head += [b"%b: %b\r\n" % field for field in framing.fields]
        if not self.bodiless and self.scope["method"] != "HEAD":
            self.expected_content_length = framing.length
            self.chunked_encoding = framing.chunked
            self._until_close = framing.until_close
            self._by_length = not (framing.chunked or framing.until_close)
        self.keep_alive = self.keep_alive and not framing.close
        return framing.close


class ResponseTransport:
    """The transport as a cycle sees it: what closing means is the connection's to say."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        close: Callable[[], None],
    ) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.held = b""
        """A head that leaves in one piece with a body that follows at once, or else by itself."""
        self._loop = loop
        self._close: Callable[[], None] | None = close
        self.answered: Any = Answered(self)

    def leave(self) -> None:
        """Forget the connection, which is lost; an answer may still be under way."""
        self._close = self.answered = None

    def hold(self, head: bytes, *, whole: bool) -> None:
        """Keep a head for its body: until the loop's next turn, where that need not follow.

        Turning the loop for each answer is 2 us of 55.
        """
        self.held = head
        if not whole:
            self._loop.call_later(0, self.flush)

    def write_body(self, data: bytes) -> None:
        """Write a piece of a body behind the head that is held, if any."""
        if self.held and len(data) <= JOINED_BYTES:
            data, self.held = self.held + data, b""
        elif self.held:
            self.flush()
        self.write(data)

    def close(self) -> None:
        self.flush()
        if self._close is not None:
            self._close()

    def flush(self) -> None:
        """Write the head that is held, if any."""
        if self.held and not self.is_closing():
            head, self.held = self.held, b""
            self.write(head)


class Answered:
    """The transport of a cycle whose answer is whole: an error that was answered closes nothing."""

    def __init__(self, transport: ResponseTransport) -> None:
        self.is_closing, self._transport = transport.is_closing, transport

    def close(self) -> None:
        if not getattr(sys.exception(), "is_logged", False):  # what uvicorn handles as it calls
            self._transport.close()
