"""Gives every request its session; requests that do not touch it cost nothing."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.middleware.http_headers import add_vary, replace_header
from service.middleware.problems import about, retry_after, send_problem
from service.middleware.session_cookie import SessionCookie
from service.middleware.session_handle import Session
from service.stores.errors import StoreUnavailable
from service.stores.sessions.store import SessionStore


class SessionMiddleware:
    """Puts a `Session` in `scope["session"]` and commits it when the response starts.

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
        session = scope["session"] = Session(self._store, self._cookie, scope)
        refused = False

        def send_committed(message: Message) -> Awaitable[None]:
            if session.touched:
                return commit_and_send(message)
            return send(message)

        async def commit_and_send(message: Message) -> None:
            nonlocal refused
            if refused:
                return
            if message["type"] == "http.response.start":
                try:
                    headers = await session.commit()
                except StoreUnavailable:
                    refused = True
                    wait = [(b"retry-after", retry_after())]
                    await send_problem(send, 503, headers=wait, **about(scope))
                    return
                message = {**message, "headers": uncached([*message["headers"], *headers])}
            await send(message)

        return self._app(scope, receive, send_committed)


def uncached(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers that keep an answer out of caches; a stricter or private wish stands."""
    given = b",".join(value.lower() for name, value in headers if name.lower() == b"cache-control")
    if b"no-store" not in given and b"private" not in given:
        headers = replace_header(headers, b"cache-control", b"no-store")
    return add_vary(headers, b"Cookie")


async def load_session(connection: HTTPConnection) -> Session:
    """Load the request's session, for `Depends`."""
    session: Session = connection.scope["session"]
    return await session.load()


LoadedSession = Annotated[Session, Depends(load_session)]
"""The loaded session of a request, logged in or not."""


async def required_user(connection: HTTPConnection) -> str:
    """Return the id of the user who is logged in; 401 without one."""
    session = await load_session(connection)  # called, not injected: a level less to resolve
    if session.user_id is None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Session"})
    return session.user_id


RequiredUser = Annotated[str, Depends(required_user)]
"""The id of the user who is logged in; without one the answer is 401."""
