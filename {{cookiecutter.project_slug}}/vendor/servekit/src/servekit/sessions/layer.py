"""Gives every request its session; requests that do not touch it cost nothing."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.errors import StoreUnavailable
from servekit.layers.http_headers import Headers, add_vary, header_value, replace_header
from servekit.problems import about, retry_after, send_problem
from servekit.sessions.cookie import SessionCookie
from servekit.sessions.session import Session
from servekit.sessions.store import SessionStore

SCOPE_KEY = "servekit.session"  # not `session`, which is Starlette's own middleware's
NO_STORE = (b"cache-control", b"no-store")
VARY = (b"vary", b"Cookie")


class SessionMiddleware:
    """Gives each request a `Session` and commits it when the response starts.

    An answer that read a session is not to be stored by any cache. When what a route wrote cannot
    be kept, the answer is a 503 instead of the route's.
    """

    def __init__(
        self, app: ASGIApp, *, store: SessionStore, cookie: str = "", secure: bool = True
    ) -> None:
        self._app = app
        self._store = store
        self._cookie = SessionCookie(store.signer, name=cookie, secure=secure)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] not in {"http", "websocket"}:
            return self._app(scope, receive, send)
        session = scope[SCOPE_KEY] = Session(self._store, self._cookie, scope)
        refused = False

        def send_committed(message: Message) -> Awaitable[None]:
            if refused:
                return nothing()
            if message["type"] != "http.response.start":
                return send(message)
            if type(message.get("headers")) is not list:  # optional, and any iterable
                message = {**message, "headers": list(message.get("headers") or ())}
            if not session.touched:
                return send(message)
            if session.clean:
                return send({**message, "headers": uncached(message["headers"])})
            return commit_and_send(message)

        async def commit_and_send(message: Message) -> None:
            nonlocal refused
            try:
                headers = await session.commit()
            except StoreUnavailable:
                refused = True
                wait = [(b"retry-after", retry_after())]
                await send_problem(send, 503, headers=wait, **about(scope))
                return
            await send({**message, "headers": uncached([*message["headers"], *headers])})

        return self._app(scope, receive, send_committed)


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
    session: Session = connection.scope[SCOPE_KEY]
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
