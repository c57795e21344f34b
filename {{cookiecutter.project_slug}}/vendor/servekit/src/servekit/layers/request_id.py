"""A name for each request: in its log lines, its problems and its answer."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable
from contextvars import ContextVar
from itertools import count
from operator import itemgetter

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import STRUCTLOG_KEY_PREFIX, bind_contextvars, reset_contextvars

from servekit.scope import REQUEST_ID_KEY, SCOPE_KEY, TRACE_ID_KEY, current_service

SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")
TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)

X_REQUEST_ID = b"x-request-id"
NAME = itemgetter(0)
ANSWERS = frozenset({"http.response.start", "websocket.http.response.start"})

# structlog puts every variable with its prefix on the line; setting ours costs a sixth of a bind.
bound_request_id: ContextVar[str] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}request_id")


class RequestIds:
    """Makes names: 96 random bits of this process and a count of 32 bits, hexadecimal.

    A forked process draws its own. Fresh randomness for each costs twice as much.
    """

    def __init__(self) -> None:
        self._process = 0
        self._prefix = ""
        self._count = count()

    def new(self) -> str:
        """Return 32 digits."""
        if self._process != (process := os.getpid()):
            self._process = process
            self._prefix = os.urandom(12).hex()
        return f"{self._prefix}{next(self._count) & 0xFFFFFFFF:08x}"


class RequestIdMiddleware:
    """Take the client's `x-request-id` if it is sane, or make one, and send it back.

    An answer that has one keeps it.

    The id is in `scope["state"]["request_id"]`, where an application may put its own, and bound to
    the log; so is, as `trace_id`, that of a valid W3C `traceparent`, or of the OpenTelemetry span
    around it all if `traced`. What runs for the request finds `service`, if it is given, as the
    current one; a layer of its own for that would cost every request a frame more.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: object = None,
        traced: bool = False,
        ids: RequestIds | None = None,
    ) -> None:
        self.app = app
        self.service = service
        self.traced = traced
        self.new_id = (ids or RequestIds()).new

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        given = parent = None
        for name, value in scope["headers"]:
            if name == X_REQUEST_ID:
                given = value if SANE.fullmatch(value) else None
            elif name == b"traceparent":
                parent = TRACEPARENT.fullmatch(value)
        request_id = given.decode() if given else self.new_id()
        header = (X_REQUEST_ID, request_id.encode())

        def send_named(message: Message) -> Awaitable[None]:
            if message["type"] in ANSWERS:
                given = message.get("headers", ())
                if X_REQUEST_ID not in map(NAME, given):
                    message = {**message, "headers": [*given, header]}
            return send(message)

        state = scope.setdefault("state", {})
        state["request_id"] = scope[REQUEST_ID_KEY] = request_id
        scope[SCOPE_KEY] = self.service
        token, outer = bound_request_id.set(request_id), current_service.set(self.service)
        tokens = None
        if (parent or self.traced) and (trace_id := self.trace_id(parent)):
            state["trace_id"] = scope[TRACE_ID_KEY] = trace_id
            tokens = bind_contextvars(trace_id=trace_id)
        try:
            await self.app(scope, receive, send_named)
        finally:
            bound_request_id.reset(token)
            current_service.reset(outer)
            if tokens:
                reset_contextvars(**tokens)

    def trace_id(self, parent: re.Match[bytes] | None) -> str:
        """Return what the collector calls the request's trace, "" where there is none."""
        if self.traced:
            # Costs nothing where nothing is traced.
            from opentelemetry.trace import format_trace_id, get_current_span

            context = get_current_span().get_span_context()
            if context.is_valid:
                return format_trace_id(context.trace_id)
        return parent[1].decode() if parent else ""
