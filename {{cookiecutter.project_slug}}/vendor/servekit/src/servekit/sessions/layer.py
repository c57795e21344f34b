"""Gives every request its session; requests that do not touch it cost nothing."""

from collections.abc import Awaitable, Sequence
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.errors import StoreUnavailable
from servekit.layers.http_headers import Headers, add_vary, header_value, replace_header
from servekit.problems import about, retry_after, send_problem
from servekit.scope import SESSION_KEY
from servekit.sessions.cookie import SessionCookie
from servekit.sessions.session import Session
from servekit.sessions.store import SessionStore

NO_STORE = (b"cache-control", b"no-store")
VARY = (b"vary", b"Cookie")
HEADS = frozenset(
    {
        "http.response.start",
        "websocket.accept",
        "websocket.http.response.start",
        "websocket.close",
    }
)
"""What an answer begins with, and the last that can carry a cookie."""


class SessionMiddleware:
    """Gives each request a `Session`, written when the answer begins, and once more at its end.

    The answer of a WebSocket begins with `accept`. An answer that read a session is not to be
    stored by any cache. When what a route wrote cannot be kept, the answer is a 503 instead of the
    route's; what is written later and cannot be kept is an error in the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: SessionStore,
        cookie: str = "",
        secure: bool = True,
        clear_site_data: Sequence[str] = (),
    ) -> None:
        self.app = app
        self._store = store
        self._cookie = SessionCookie(
            store.signer, name=cookie, secure=secure, clear_site_data=clear_site_data
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        session = scope[SESSION_KEY] = Session(self._store, self._cookie, scope)
        try:
            await self.app(scope, receive, Answer(session, scope, send).send)
        finally:
            # Without a head an exception is answered outside of this layer: nothing is kept.
            if session.pending and session.begun:
                await session.write_late()
            session._end_request()  # noqa: SLF001 - no user is to see this name


class Answer:
    """Sends an answer on, with what its session adds to the head."""

    __slots__ = ("_refused", "_scope", "_send", "_session")

    def __init__(self, session: Session, scope: Scope, send: Send) -> None:
        self._session = session
        self._scope = scope
        self._send = send
        self._refused = False

    def send(self, message: Message) -> Awaitable[None]:
        session = self._session
        if session.begun or message["type"] not in HEADS:
            return nothing() if self._refused else self._send(message)
        session.begun = True
        if message["type"] == "websocket.close":  # instead of a handshake's answer
            session.note_undelivered()
            return self._send(message)
        if type(message.get("headers")) is not list:  # optional, and any iterable
            message = {**message, "headers": list(message.get("headers") or ())}
        if not session.touched:
            return self._send(message)
        return self._commit_and_send(message)

    async def _commit_and_send(self, message: Message) -> None:
        session, scope = self._session, self._scope
        headers: Headers = message["headers"]
        if not session.clean:
            try:
                headers = headers + await session.commit()
            except StoreUnavailable:
                session.discard()
                if scope["type"] == "websocket":
                    raise  # to whoever calls `accept`; unhandled, it is answered with a 503
                self._refused = True
                # What was done before stays done: without its id the client would be logged out.
                more = [(b"retry-after", retry_after()), *session._new_cookie()]  # noqa: SLF001 - as below
                await send_problem(self._send, 503, headers=more, **about(scope))
                return
        if scope["type"] == "http":
            headers = uncached(headers)
        await self._send({**message, "headers": headers})


async def nothing() -> None:
    """Send nothing: the rest of an answer that another one replaced."""


def uncached(headers: Headers) -> Headers:
    """Return headers that keep an answer out of caches; a stricter or private directive stands."""
    names = [name.lower() for name, _ in headers]
    if b"cache-control" not in names and b"vary" not in names:
        return [*headers, NO_STORE, VARY]
    given = header_value(headers, b"cache-control").lower()
    if b"no-store" not in given and b"private" not in given:
        headers = replace_header(headers, *NO_STORE)
    return add_vary(headers, b"Cookie")


async def load_session(connection: HTTPConnection) -> Session:
    """Load the request's session, for `Depends`."""
    session: Session = connection.scope[SESSION_KEY]
    return await session.load()


SessionDep = Annotated[Session, Depends(load_session)]
"""The loaded session of a request, logged in or not."""


async def user_session(connection: HTTPConnection) -> Session:
    """Load the session of the user who is logged in; 401 without one."""
    session = await load_session(connection)  # called, not injected: a level less to resolve
    if session.user_id is None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Session"})
    return session


UserSessionDep = Annotated[Session, Depends(user_session)]
"""The session of the user who is logged in, `session.user`; without one the answer is 401."""


async def required_user(connection: HTTPConnection) -> str:
    """Return the id of the user who is logged in; 401 without one."""
    return (await user_session(connection)).user


UserDep = Annotated[str, Depends(required_user)]
"""The id of the user who is logged in; without one the answer is 401."""

READ_SESSION = (load_session, user_session, required_user)
"""The dependencies whose answers are for one client only."""
