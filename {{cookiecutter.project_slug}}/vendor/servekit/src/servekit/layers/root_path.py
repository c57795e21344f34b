"""The prefix under which a front shows the service, in the scope as ASGI has it."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.notation.places import root_path
from servekit.notation.urls import Refused
from servekit.remembered import remembered

FIELD = b"x-forwarded-prefix"


class RootPathMiddleware:
    """Put the prefix into `root_path`, and before `path` where the front took it away.

    It is what the last `hops` trusted proxies say in X-Forwarded-Prefix, else `root_path` or what
    the server says in its place. So a front may strip the prefix or not, and links, redirects and
    the documentation lead through it either way. Without any of ours the scope stays as it is.
    """

    def __init__(self, app: ASGIApp, *, root_path: str = "", hops: int = 0) -> None:
        self.app = app
        self.root_path = root_path
        self.hops = hops

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] in {"http", "websocket"}:
            told = forwarded_prefix(scope, self.hops) if self.hops else ""
            if told or self.root_path:
                enter(scope, told or scope.get("root_path", "").rstrip("/") or self.root_path)
        return self.app(scope, receive, send)


def enter(scope: Scope, prefix: str) -> None:
    """Make a scope that of a request below a prefix."""
    scope["root_path"] = prefix
    path: str = scope["path"]
    if path.startswith("/") and path != prefix and not path.startswith(f"{prefix}/"):
        scope["path"] = prefix + path
        raw: bytes | None = scope.get("raw_path")
        if raw is not None:
            scope["raw_path"] = prefix.encode() + raw


def forwarded_prefix(scope: Scope, hops: int) -> str:
    """Return what the trusted proxies took from the path, one after the other; mostly nothing."""
    fields = [value for name, value in scope["headers"] if name == FIELD]
    return parse_prefix(b",".join(fields), hops) if fields else ""


def parse_prefix(field: bytes, hops: int) -> str:
    """Return the prefixes of the last `hops` entries as one; empty if one of them is none."""
    try:
        return "".join(map(prefix_of, field.decode("latin-1").split(",")[-hops:]))
    except Refused:
        return ""


@remembered(256)
def prefix_of(entry: str) -> str:
    """Return an entry as a prefix; raises Refused."""
    return root_path(entry)
