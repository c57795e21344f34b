"""Server-side sessions: loaded when a route asks for one, written with its answer or after it."""

from servekit.sessions.errors import SessionEnded
from servekit.sessions.layer import SessionDep, UserDep, UserSessionDep
from servekit.sessions.session import Session
from servekit.sessions.session_key import SessionKey

__all__ = ["Session", "SessionDep", "SessionEnded", "SessionKey", "UserDep", "UserSessionDep"]
