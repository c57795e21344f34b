"""One client connection: uvicorn's HTTP protocol with limits and deadlines, off the hot path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import httptools

from servekit.edge import refusals
from servekit.edge.addresses import plain
from servekit.edge.cycle import ResponseTransport
from servekit.edge.hosts import host_of_target, is_host, replace_host
from servekit.edge.instant import INSTANT_LIMIT, answer_instantly
from servekit.edge.limits import head_bytes
from servekit.edge.refusals import Refusal, with_headers
from servekit.edge.timeouts import ConnectionTimeouts
from servekit.edge.upgrades import IgnoredUpgrades, drop_empty_body
from servekit.event_log import get_logger
from servekit.foreign.uvicorn import HttpToolsProtocol, asks_for_websocket
from servekit.scope import IN_WORKER, TARGET_KEY

if TYPE_CHECKING:
    from uvicorn import Config

    from servekit.edge.listeners import Listener
    from servekit.edge.options import ProtocolOptions
    from servekit.foreign.uvicorn import ServerState

PIPELINE_LIMIT = 64

log = get_logger()


class HttpProtocol(IgnoredUpgrades):
    """One client connection.

    The parser's callbacks only count; the worker's sweep compares with the limits of time.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        options: ProtocolOptions,
        listener: Listener,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.options, self.limits = options, options.limits
        self.listener = listener
        self.timeouts = ConnectionTimeouts(self, options.limits)
        self.requests_begun = 0
        self.body_bytes = self.write_resumptions = self.unparsed_bytes = 0
        self.refusal_after: tuple[Refusal, int | None] | None = None
        self.instant_left = INSTANT_LIMIT
        self._host, self._host_count = b"", 0
        self._failed_with: tuple[Refusal, int | None] = (refusals.MALFORMED, None)

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client, self.server = plain(self.client), plain(self.server)
        self.response_transport: Any = ResponseTransport(
            transport, self.loop, close=self.close_after_answer
        )
        self.listener.connection_opened()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.listener.connection_closed()
        del self.timeouts  # what holds this object: else only the collector could free it
        self.response_transport.leave()

    def resume_writing(self) -> None:
        self.write_resumptions += 1
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self.refused or self.refusal_after is not None:
            return
        self.unparsed_bytes += len(data)
        self.instant_left = INSTANT_LIMIT
        while data:
            data = self._read(data)
        if self.unparsed_bytes > self.limits.header_bytes and self.parser is not None:
            self._refuse_oversized()

    def _read(self, data: bytes) -> bytes:
        """Parse, and return what another parser has to read, behind an upgrade that is ignored."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            return self._upgrade(data, error)
        except httptools.HttpParserError as error:
            self._refuse_unparsed(error)
        return b""

    # What the parser calls

    def on_message_begin(self) -> None:
        if self.resuming:
            return
        HttpToolsProtocol.on_message_begin(self)  # super() is measurable here on 3.11
        self.requests_begun += 1
        self.in_headers = True
        self._host_count = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:  # and one that was read before
            return  # a trailer: merged into the headers it could overrule what was checked
        name = name.lower()
        if name == b"host":
            self._host_count += 1
            self._host = value
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.resuming:
            return
        limits = self.limits
        if len(self.url) > limits.uri_bytes:
            self._fail(refusals.LONG_TARGET, len(self.url))
        if len(self.headers) > limits.header_count:
            self._fail(refusals.MANY_FIELDS, len(self.headers))
        if self.unparsed_bytes > limits.header_bytes < (size := head_bytes(self.url, self.headers)):
            self._fail(refusals.LARGE_HEAD, size)
        version = self.parser.get_http_version()
        if version != "1.1":
            self._check_old_version(version)
        elif self._host_count != 1:
            self._fail(refusals.BAD_HOST)
        if self._host_count and self._host not in self.options.known_hosts:
            self._check_host()
        self.unparsed_bytes = 0
        instant = self.options.instant
        if self.url in instant.targets and answer_instantly(self, instant, version):
            return
        self._begin_request(version)
        if self.pipeline and len(self.pipeline) > PIPELINE_LIMIT:
            self._fail(refusals.TOO_MANY_AHEAD)

    def _begin_request(self, version: str) -> None:
        """Complete the scope and start its task; a WebSocket handshake is uvicorn's matter."""
        if self.url[:1] != b"/" and (host := host_of_target(self.url)) is not None:
            self._host = host
            self._check_host()
            replace_host(self.headers, host)
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self.parser.should_upgrade():
            if asks_for_websocket(self):
                if self.answering or not drop_empty_body(self.headers):
                    self._fail(refusals.BAD_HANDSHAKE)
                self.in_headers, self.in_body = False, True
                return
            self.ignoring_upgrade = scope["method"] != "CONNECT"
        target = httptools.parse_url(self.url)
        raw_path = target.path or b"/"  # of `http://host?query` too
        try:
            path = raw_path.decode("ascii")
        except UnicodeDecodeError:
            self._fail(refusals.MALFORMED)
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = target.query or b""
        scope[IN_WORKER] = True
        scope[TARGET_KEY] = self.url
        busy = self.answering
        self.in_headers, self.in_body = False, True  # what fails from here on is its own
        self.cycle = self.options.make_cycle(
            scope=scope,
            transport=self.response_transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self.start_request(self.cycle, self.app)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        self.unparsed_bytes = 0
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        if self.ignoring_upgrade:
            return  # the parser leaves out the body
        self.in_body = False
        self.unparsed_bytes = 0
        if self.cycle is not None:  # else it has its answer
            HttpToolsProtocol.on_message_complete(self)

    # What the request's cycle calls

    def on_response_complete(self) -> None:
        # As the original, without a timer for each request: the sweep watches idle connections.
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self.refused:
            return
        self.flow.resume_reading()
        if self.pipeline:
            self.start_request(*self.pipeline.pop())
        elif refusal := self.refusal_after:
            self.refusal_after = None
            self.refuse(*refusal)
        elif self.half_closed:
            self.transport.close()

    def close_after_answer(self) -> None:
        """Close, once a client that is still sending its body has had time to read the answer."""
        if self.in_body and not self.transport.is_closing():
            self.linger()
        else:
            self.transport.close()

    # What the worker calls

    def refuse(self, refusal: Refusal, size: int | None = None) -> None:
        """Answer on behalf of the application, or not at all if it has begun to; then close."""
        if self.refused or self.refusal_after or self.transport.is_closing():
            return
        if self.answering and (self.pipeline or not self.in_body):
            # Good ones before it are answered first: we may have no more than an empty end to send.
            self.drop_unfinished()
            self.refusal_after = refusal, size
            return
        if self.answering:
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False  # nothing may follow the refusal
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        more = [*self.server_state.default_headers, *self.options.headers_for(self.headers or ())]
        self.transport.write(with_headers(self.options.refusals.answer(refusal, size), more))
        self.linger()

    def _fail(self, refusal: Refusal, size: int | None = None) -> NoReturn:
        """Stop the parser from inside one of its callbacks."""
        self._failed_with = refusal, size
        raise httptools.HttpParserError

    def _refuse_unparsed(self, error: httptools.HttpParserError) -> None:
        cause, wrong = error.__context__, httptools.HttpParserError
        if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(cause, wrong):
            log.error("connection_failed", exc_info=cause)
            self._failed_with = refusals.FAULT, None
        self.refuse(*self._failed_with)

    def _refuse_oversized(self) -> None:
        if self.in_headers and not self.headers and len(self.url) > self.limits.uri_bytes:
            self.refuse(refusals.LONG_TARGET, len(self.url))
        else:
            self.refuse(refusals.LARGE_HEAD, self.unparsed_bytes)

    def _check_old_version(self, version: str) -> None:
        framed = any(name == b"transfer-encoding" for name, _ in self.headers)
        if version != "1.0" or self._host_count > 1 or framed:
            self._fail(refusals.BAD_VERSION)

    def _check_host(self) -> None:
        if not is_host(self._host, self.options.known_hosts):
            self._fail(refusals.BAD_HOST)

    def _upgrade(self, data: bytes, error: httptools.HttpParserUpgrade) -> bytes:
        if self.ignoring_upgrade:
            try:
                return self.rest_after_upgrade(data, error)
            except httptools.HttpParserError as wrong:
                self._refuse_unparsed(wrong)
        elif asks_for_websocket(self):
            self.in_own_context(self.handle_websocket_upgrade)
            self.listener.connection_closed()
        elif self.cycle is not None:
            # The parser stops at any upgrade; the request itself is answered as if it had none.
            self.cycle.keep_alive = False
        return b""
