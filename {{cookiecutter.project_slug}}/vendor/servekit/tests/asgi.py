"""Call an ASGI application without a server and keep every message that it sends."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.routing.routes import Routes, read_routes


class Answer:
    def __init__(self, messages: list[Message], scope: Scope) -> None:
        self.messages = messages
        self.scope = scope
        self.starts = [m for m in messages if m["type"] == "http.response.start"]
        self.status: int = self.starts[0]["status"]
        self.headers = dict(self.starts[0]["headers"])
        self.bodies = [m["body"] for m in messages if m["type"] == "http.response.body"]
        self.body = b"".join(self.bodies)


def http_scope(path: str = "/", method: str = "GET", **changes: Any) -> Scope:
    headers = [(name.encode(), value.encode()) for name, value in changes.pop("headers", ())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    return scope | changes


async def call(app: ASGIApp, path: str = "/", method: str = "GET", **changes: Any) -> Answer:
    messages: list[Message] = []
    scope = http_scope(path, method, **changes)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(dict(message))

    await app(scope, receive, send)
    return Answer(messages, scope)


def answers(
    status: int = 200, body: bytes = b"ok", headers: list[tuple[bytes, bytes]] | None = None
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given = headers or [(b"content-type", b"text/plain")]
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [*given, length]})
        await send({"type": "http.response.body", "body": body})

    return app


async def passed(app: ASGIApp, scope: Scope) -> bool:
    """Call with a scope that is no HTTP and say whether the messages came through untouched."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent == [{"type": "passed"}]


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "passed"})


def routes_of(app: Any) -> Callable[[], Routes]:
    """Return what tells a layer the routes of an application: read at the first request."""
    known: list[Routes] = []

    def read() -> Routes:
        if not known:
            known.append(read_routes(app))
        return known[0]

    return read
