"""The names under which the scope of a request holds what layers tell each other."""

from contextvars import ContextVar
from typing import Any

SCOPE_KEY = "servekit.service"
"""The service that answers."""

IN_WORKER = "servekit.in_worker"
"""True where a worker of ours serves, which knows that a logged exception has been dealt with."""

TARGET_KEY = "servekit.target"
"""The target as it stood in the request line, where the connection answers hits by itself."""

LEARN_HEAD_KEY = "servekit.learn_head"
"""What the lines of the answer's head are told to, as they are sent."""

SESSION_KEY = "servekit.session"
"""Where the scope of a request has its session; not `session`, which is Starlette's own."""

SESSION_HEADERS_KEY = "servekit.session_headers"
"""Where a scope has what returns the headers with the session's cookie, if it hides that."""

REQUEST_ID_KEY = "servekit.request_id"
"""The request's id as the log has it; `state` has it too, where an application may set its own."""

TRACE_ID_KEY = "servekit.trace_id"
"""The same of its trace, where it has one."""

PASSAGE_KEY = "servekit.passage"
"""Where a scope has what tells which scope came out of the application's own middleware."""

current_service: ContextVar[Any] = ContextVar("current_service", default=None)
"""The service whose request or lifespan runs here; tasks that these start inherit it."""


class WholeStart(dict[str, Any]):
    """The head of an answer whose body follows at once, so that both can leave in one piece.

    A message like any other, and its copies are no more than that.
    """
