"""What an exception means on a WebSocket: a goodbye is none, anything else is one record."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from servekit.event_log import get_logger
from servekit.layers.failures import mark_logged, where
from servekit.own_code import place_of_error
from servekit.problems import about, send_problem
from servekit.scope import IN_WORKER

REFUSABLE = "websocket.http.response"

log = get_logger()


async def serve_websocket(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an application; in a worker a goodbye that it did not catch ends it quietly.

    Elsewhere what it raised goes on as with FastAPI: a test client raises it.
    """
    answered = False
    lost: OSError | None = None

    async def send_tracked(message: Message) -> None:
        nonlocal answered, lost
        try:
            await send(message)
        except OSError as error:  # as ASGI says it: the client is gone, and the server knows
            lost = error
            raise
        answered = True

    try:
        await app(scope, receive, send_tracked)
    except (Exception, asyncio.CancelledError) as error:
        in_worker = scope.get(IN_WORKER, False)
        if is_goodbye(error):
            if in_worker:
                return
            raise
        if error is not lost:
            record(scope, error)
        if in_worker and not answered and REFUSABLE in scope.get("extensions", {}):
            await refuse(scope, send, 503 if isinstance(error, asyncio.CancelledError) else 500)
        raise


def is_goodbye(error: BaseException) -> bool:
    """Return whether an exception says no more than that the client has left."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_goodbye(each) for each in error.exceptions)
    return isinstance(error, WebSocketDisconnect)


def record(scope: Scope, error: BaseException) -> None:
    """Log an exception once, with the route; the request's id is bound to the log."""
    mark_logged(error)
    if isinstance(error, asyncio.CancelledError):
        log.warning("request_cancelled", **where(scope), at=place_of_error(error))
    else:
        log.error("unhandled_exception", **where(scope), exc_info=error)


async def refuse(scope: Scope, send: Send, status: int) -> None:
    """Answer a handshake that was not accepted with a problem."""

    async def send_refusal(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await send_problem(send_refusal, status, **about(scope))
