"""One timing, one metric and one line in the log for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.event_log import get_logger
from servekit.hang_up import READS
from servekit.layers.request_metrics import RequestMetrics
from servekit.routing.template import route_template
from servekit.scope import REQUEST_ID_KEY, TRACE_ID_KEY

CLIENT_CLOSED = 499
SERVER_ERROR = 500

Event = tuple[str, dict[str, Any]]
"""A level and the fields of a line."""

log = get_logger()


def write_events(events: Iterable[Event]) -> None:
    """Write lines through structlog."""
    for level, fields in events:
        getattr(log, level)(**fields)


class Ended(NamedTuple):
    """A request that is over, waiting for the end of the loop's turn."""

    scope: Scope
    status: int
    size: int
    seconds: float


class EndedRequests:
    """Counts requests in `metrics` and writes their lines, at the end of the event loop's turn.

    All that ended in it are one batch and one system call. `write` spares half of a logger's cost.
    """

    def __init__(
        self,
        metrics: RequestMetrics,
        write: Callable[[Iterable[Event]], None] = write_events,
    ) -> None:
        self.metrics = metrics
        self.write = write
        self._batch: list[Ended] = []

    def add(self, request: Ended) -> None:
        """Take a request that is over; for code of the event loop."""
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._flush)
        self._batch.append(request)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        lines = []
        for request in batch:
            route = route_template(request.scope)
            self.metrics.observe(request.scope["method"], route, request.status, request.seconds)
            lines.append(access_line(request, route))
        self.write(lines)


class TelemetryMiddleware:
    """Measure each request until its last byte is handed over; `ended` has the counts.

    A request whose client left before its answer began counts as 499, whatever is said to nobody
    then.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: CollectorRegistry,
        ended: EndedRequests | None = None,
    ) -> None:
        self.app = app
        self.ended = ended or EndedRequests(RequestMetrics())
        self.metrics = self.ended.metrics
        registry.register(self.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        ended = 0.0
        status = CLIENT_CLOSED
        size = 0
        gone = False

        listen = receive
        if scope["method"] not in READS:  # which are cancelled, and then have no answer

            async def listen() -> Message:
                nonlocal gone
                message = await receive()
                if message["type"] == "http.disconnect" and status == CLIENT_CLOSED:
                    gone = True
                return message

        def send_measured(message: Message) -> Awaitable[None]:
            nonlocal status, size, ended
            if message["type"] == "http.response.start":
                status = CLIENT_CLOSED if gone else message["status"]
            else:
                size += len(message.get("body", b""))
                ended = perf_counter()
            return send(message)

        metrics = self.metrics
        metrics.active += 1
        try:
            await self.app(scope, listen, send_measured)
        finally:
            metrics.active -= 1
            # Background tasks run after the last byte: they are not the client's time.
            self.ended.add(Ended(scope, status, size, (ended or perf_counter()) - began))


def access_line(request: Ended, route: str) -> Event:
    """Return level and fields of the line; the path without its query, which may hold secrets."""
    scope = request.scope
    client = scope.get("client")
    line = {
        "event": "http_request",
        "method": scope["method"],
        "path": scope["path"],
        "route": route,
        "status": request.status,
        "duration_ms": int(request.seconds * 1_000_000) / 1000,
        "response_bytes": request.size,
        "client": client[0] if client else None,
        "request_id": scope.get(REQUEST_ID_KEY),
    }
    if TRACE_ID_KEY in scope:
        line["trace_id"] = scope[TRACE_ID_KEY]
    return "warning" if request.status >= SERVER_ERROR else "info", line
