"""FastAPI's innermost layers without their idle parts: handlers of errors, and exit stacks."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.foreign.fastapi import (
    AsyncExitStackMiddleware,
    exception_handlers,
    wrap_app_handling_exceptions,
)
from servekit.foreign.originals import layers_are_original

START = "http.response.start"


class Innermost:
    """The layer that handles errors and the one that closes uploaded files, as one.

    With a wrapper, a request of its own and a stack entered and left, both cost 4 us of 90.
    """

    def __init__(self, layer: ExceptionMiddleware) -> None:
        self._usual = layer
        self.app = layer.app.app  # type: ignore[attr-defined] # of an AsyncExitStackMiddleware
        self._handlers = exception_handlers(layer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._usual(scope, receive, send)
            return
        scope["starlette.exception_handlers"] = self._handlers
        files = scope["fastapi_middleware_astack"] = AsyncExitStack()
        started = False

        def send_tracked(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == START:
                started = True
            return send(message)

        try:
            try:
                await self.app(scope, receive, send_tracked)
                if has_exits(files):
                    await files.aclose()
            except BaseException:
                async with files:
                    raise
        except Exception as error:  # noqa: BLE001 - handled as Starlette does
            scope["starlette.exception_handlers"] = self._handlers  # a mounted application set its
            await handle(error, Request(scope, receive, send), send, started=started)


def innermost(layer: ASGIApp) -> ASGIApp:
    """Return FastAPI's two innermost layers as one, where `layer` is the outer of them."""
    if (
        type(layer) is ExceptionMiddleware
        and type(layer.app) is AsyncExitStackMiddleware
        and layers_are_original()  # else a tool that traces is to be called
    ):
        return Innermost(layer)
    return layer


async def handle(error: Exception, request: Request, send: Send, *, started: bool) -> None:
    """Have an error handled as Starlette does; `started` tells whether its answer has begun."""

    async def again(_scope: Scope, _receive: Receive, sender: Send) -> None:
        if started:
            await sender({"type": START})
        raise error

    answer = wrap_app_handling_exceptions(again, request)
    await answer(request.scope, request.receive, ignore if started else send)


async def ignore(_message: Message) -> None:
    """Stand for the sender of an answer that was begun before."""


def has_exits(stack: AsyncExitStack) -> bool:
    """Return whether anything was left in a stack: to enter and leave an empty one costs 1 us."""
    return bool(getattr(stack, "_exit_callbacks", True))
