"""Server-side sessions: loaded when a route asks for one, written when its answer begins."""

from servekit.sessions.handle import Session
from servekit.sessions.keys import SessionKey
from servekit.sessions.layer import SessionDep, UserDep, UserSessionDep

__all__ = ["Session", "SessionDep", "SessionKey", "UserDep", "UserSessionDep"]
