"""What dependencies do as soon as the route is known.

FastAPI reads the body before it calls any, and a deadline is for that too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.routing.routes import walk


def with_early_calls(answer: ASGIApp, dependant: Any) -> ASGIApp:
    """Return what answers a route, after the early calls of its dependencies, if there are any."""
    early = [*early_calls(dependant)]
    if not early:
        return answer

    def run(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for call in early:
            call()
        return answer(scope, receive, send)

    return run


def early_calls(dependant: Any) -> Iterator[Callable[[], None]]:
    """Yield `when_routed` of those dependencies that have it, in FastAPI's order."""
    for part in walk(dependant) if dependant is not None else ():
        if call := getattr(part.call, "when_routed", None):
            yield call
