"""The client's address and scheme as told by the proxies in front, and by nobody else."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.remembered import remembered

SECURE = {"http": "https", "websocket": "wss"}
PLAIN = {"http": "http", "websocket": "ws"}


class ProxyHeadersMiddleware:
    """Take client and scheme from the entry that the outermost of `hops` trusted proxies wrote.

    Entries are counted from the right of X-Forwarded-For: a client can only add on the left. With
    0 hops, or fewer entries than hops, the client is the peer. Forwarded and X-Forwarded-Host are
    ignored.
    """

    def __init__(self, app: ASGIApp, *, hops: int = 0) -> None:
        self.app = app
        self.hops = hops

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self.hops and scope["type"] in PLAIN:
            client = forwarded_client(scope, self.hops)
            if client is not None:
                scope["client"] = client
            scope["scheme"] = forwarded_scheme(scope, self.hops) or scope["scheme"]
        return self.app(scope, receive, send)


def forwarded_client(scope: Scope, hops: int) -> tuple[str, int] | None:
    """Return the client that `hops` trusted proxies tell of; None when they don't."""
    addresses = entries(scope, b"x-forwarded-for")
    return parse_client(addresses[-hops]) if 0 < hops <= len(addresses) else None


def forwarded_scheme(scope: Scope, hops: int) -> str:
    """Return the scheme that `hops` trusted proxies tell of; "" when they don't."""
    schemes = entries(scope, b"x-forwarded-proto")
    if not schemes:
        return ""
    # Proxies append addresses but most overwrite the scheme, so one entry will do.
    secure = schemes[-min(hops, len(schemes))].lower() in {"https", "wss"}
    return (SECURE if secure else PLAIN)[scope["type"]]


def entries(scope: Scope, field: bytes) -> list[str]:
    """Return the comma-separated entries of all lines of a header field, left to right."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == field]
    return [entry.strip() for entry in ",".join(values).split(",")] if values else []


@remembered(1024)
def parse_client(entry: str) -> tuple[str, int] | None:
    """Return the address and port of an entry, the port 0 when it has none; None if not valid."""
    address, port = entry, ""
    if entry.startswith("["):
        address, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    elif entry.count(":") == 1:
        address, _, port = entry.partition(":")
    try:
        found = ip_address(address)
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return str(mapped or found), int(port) if port.isdecimal() else 0
    except ValueError:
        return None
