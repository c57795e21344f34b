"""The last line of defence: one record and one problem for an exception that nobody caught."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.event_log import get_logger
from servekit.hang_up import is_hang_up
from servekit.layers.failures import mark_logged, say_why, where
from servekit.layers.websocket_errors import serve_websocket
from servekit.own_code import place_of_error
from servekit.problems import about, late_cookies, send_problem, status_of, unavailable_headers
from servekit.refusal_log import RefusalLog
from servekit.unsendable import nothing_was_sent

log = get_logger()


class ErrorsMiddleware:
    """Log an exception once, with the request's id, and answer 500 if no answer began.

    `statuses` maps exceptions of the domain to a status, for those raised outside FastAPI's own
    handlers; they are answered without a trace in the log. Every unexpected one goes on, as with
    FastAPI, marked so that it is not logged again: what stands around the application reports it
    (Sentry), a test client raises it, and the server closes the connection of an answer that was
    cut off.
    """

    def __init__(
        self, app: ASGIApp, *, statuses: Mapping[type[Exception], int] | None = None
    ) -> None:
        self.app = app
        self.statuses = dict(statuses or {})
        self._failures = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.serve_other(scope, receive, send)
            return
        started = complete = False

        def send_tracked(message: Message) -> Awaitable[None]:
            nonlocal started, complete
            sending = send(message)
            if message["type"] == "http.response.start":
                started = True
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            return sending

        try:
            await self.app(scope, receive, send_tracked)
        except ClientDisconnect:
            return
        except (Exception, asyncio.CancelledError) as error:
            if is_hang_up(error):
                raise
            started = started and not nothing_was_sent(error)
            status = self.record(scope, error, started=started)
            if not started:
                headers = [*unavailable_headers(status), *late_cookies(scope)]
                await send_problem(send, status, headers=headers, **about(scope))
            cut = started and not complete
            unexpected = status == HTTPStatus.INTERNAL_SERVER_ERROR
            if isinstance(error, asyncio.CancelledError) or cut or unexpected:
                raise

    async def serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run what is no HTTP request."""
        if scope["type"] == "websocket":
            await serve_websocket(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def record(self, scope: Scope, error: BaseException, *, started: bool) -> int:
        """Log an exception that nobody expected, and return the status that stands for it."""
        mark_logged(error)
        if isinstance(error, asyncio.CancelledError):
            log.warning("request_cancelled", **where(scope), at=place_of_error(error))
            return 503
        status = status_of(error, self.statuses)
        if started or status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("unhandled_exception", **where(scope), exc_info=error)
        else:
            say_why(self._failures, scope, status, error)
        return status
