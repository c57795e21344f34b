"""Server-side sessions: loaded when a route asks for one, written when its answer begins."""

from servekit.sessions.layer import SessionDep, UserDep, UserSessionDep
from servekit.sessions.session import Session, SessionKey

__all__ = ["Session", "SessionDep", "SessionKey", "UserDep", "UserSessionDep"]
