"""Says in the log why requests are answered 5xx where that is no mistake of the application's."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from servekit.routing.template import route_template, template_by_table

if TYPE_CHECKING:
    from starlette.types import Scope

    from servekit.refusal_log import RefusalLog

REASON_MAX = 500


def say_why(log: RefusalLog, scope: Scope, status: int, error: BaseException) -> None:
    """Log an exception that has a status of its own, if that is 5xx; one of a kind at a time."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = str(error) or str(error.__cause__ or "")
        told = {"status": status, "route": route_template(scope), "reason": reason[:REASON_MAX]}
        log.say(type(error).__name__, event="request_failed", **told)


def where(scope: Scope) -> dict[str, str]:
    """Return the route that a record is about, and the path where nobody knows one.

    What FastAPI's included routers find for a WebSocket stays in a scope of their own.
    """
    route = route_template(scope)
    if not route and scope["type"] == "websocket":
        route = template_by_table(scope, scope.get("root_path", ""))
    return {"route": route} if route else {"route": "", "path": scope.get("path", "")}


def mark_logged(error: BaseException) -> None:
    """Note that an exception is in the log, for `servekit.logs`; its own class may be frozen."""
    BaseException.__setattr__(error, "is_logged", True)
