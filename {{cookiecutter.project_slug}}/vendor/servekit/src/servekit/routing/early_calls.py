"""What dependencies do as soon as the route is known.

FastAPI reads the body before it calls any, and a deadline is for that too.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.routing.routes import walk


class EarlyDependency:
    """A dependency, an object that FastAPI calls, with something to do before that."""

    def when_routed(self) -> None:
        """Do it, in the context of the request."""
        raise NotImplementedError


def with_early_calls(answer: ASGIApp, dependant: Any) -> ASGIApp:
    """Return what answers a route, after the early calls of its dependencies, if there are any."""
    parts = walk(dependant) if dependant is not None else ()
    early = [part.call for part in parts if isinstance(part.call, EarlyDependency)]
    if not early:
        return answer

    def run(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for dependency in early:
            dependency.when_routed()
        return answer(scope, receive, send)

    return run
