"""400 for a request whose Host is not ours."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.problems import about, send_problem
from servekit.refusal_log import RefusalLog

REMEMBERED = 1024
HOST_LENGTH = 100


class TrustedHostsMiddleware:
    """Refuse hosts that are not in `allowed`: names, `*.example.com` for subdomains, `*` for all.

    Ports and case do not matter; IPv6 addresses stand in brackets. A request without exactly one
    Host is refused too. X-Forwarded-Host is never looked at.
    """

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str]) -> None:
        hosts = {host.lower().rstrip(".") for host in allowed}
        self.app = app
        self.any = "*" in hosts
        self.exact = frozenset(hosts)
        self.suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))
        self.accepted: set[bytes] = set()
        self._log = RefusalLog()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] not in {"http", "websocket"} or self.any:
            return self.app(scope, receive, send)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and (hosts[0] in self.accepted or self.accepts(hosts[0])):
            return self.app(scope, receive, send)
        return self.refuse(scope, receive, send)

    def accepts(self, value: bytes) -> bool:
        """Return whether a Host field names us, and remember it if so, up to a bound."""
        host = host_name(value)
        known = host in self.exact or bool(host and host.endswith(self.suffixes))
        if known and len(self.accepted) < REMEMBERED:
            self.accepted.add(value)
        return known

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400; a WebSocket is closed before it is accepted."""
        self._say(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send_problem(send, 400, detail="Unknown host.", **about(scope))

    def _say(self, scope: Scope) -> None:
        """Name the host in the log, now and then: it may be ours, and missing in ALLOWED_HOSTS."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        self._log.say(
            "the host is not ours",
            event="host_refused",
            status=400,
            setting="ALLOWED_HOSTS",
            host=b", ".join(hosts).decode("latin-1")[:HOST_LENGTH],
            allowed=sorted(self.exact),
        )


def host_name(value: bytes) -> str:
    """Return the lower-case name or bracketed address of a Host field, without the port."""
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        address, bracket, port = text.partition("]")
        name = address + bracket
    else:
        name, colon, port = text.partition(":")
        port = colon + port
    has_port = not port or (port[0] == ":" and (port[1:].isdecimal() or port == ":"))
    return name.rstrip(".") if has_port else ""
