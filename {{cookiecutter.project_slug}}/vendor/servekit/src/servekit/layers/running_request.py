"""Which request a piece of running code serves, read from its stack without any bookkeeping."""

from __future__ import annotations

import asyncio
from types import FrameType
from typing import Any

from servekit.routing.template import route_template
from servekit.scope import REQUEST_ID_KEY

SCOPE = "scope"


def running_request(frame: FrameType, task: asyncio.Task[Any] | None) -> dict[str, str]:
    """Return `route` and `request_id` of the request whose code runs at `frame`; {} if none.

    Every ASGI application on the stack holds the scope in a local variable of that name, and a
    blocked loop runs one stack only. A task that a handler started has no such frame: Python 3.12
    shows its context, where the request id is.
    """
    scope = _innermost_scope(frame)
    if scope is not None:
        request_id = scope.get(REQUEST_ID_KEY, "")
        return {"route": route_template(scope), "request_id": request_id}
    get_context = getattr(task, "get_context", None)
    for variable, value in get_context().items() if get_context else ():
        if variable.name == "structlog_request_id":
            return {"request_id": str(value)}
    return {}


def _innermost_scope(frame: FrameType | None) -> dict[str, Any] | None:
    while frame is not None:
        code = frame.f_code
        # `f_locals` copies all locals of a frame: only where there is something to find.
        if SCOPE in code.co_varnames or SCOPE in code.co_freevars:
            scope = frame.f_locals.get(SCOPE)
            if isinstance(scope, dict) and scope.get("type") in {"http", "websocket"}:
                return scope
        frame = frame.f_back
    return None
