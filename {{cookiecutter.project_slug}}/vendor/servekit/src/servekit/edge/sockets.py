"""Listening sockets: bound once by the supervisor, shared with every worker."""

from __future__ import annotations

import contextlib
import socket
import stat
from pathlib import Path

UNIX = "unix:"
UNSENT_BYTES = 131_072
BACKLOG = 2048


def listen(host: str, port: int, *, mode: int = 0o666, both: bool = True) -> socket.socket:
    """Bind and listen on a TCP address, or where host is `unix:/path` on a unix socket.

    `mode` says who may connect to a unix socket; without `both`, `::` leaves IPv4 to another.

    Raises:
        OSError: The address is taken or not ours.
    """
    if host.startswith(UNIX):
        return _listen_unix(Path(host.removeprefix(UNIX)), mode)
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        if family == socket.AF_INET6 and not both:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: an answer in two writes must not wait for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Inherited too: what a client that reads nothing has buffered in the kernel stays small.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.bind(address)
        return _ready(listener)
    except OSError:
        listener.close()
        raise


def close(listener: socket.socket) -> None:
    """Close for everybody who holds the socket; a unix socket's file goes too, if it is ours."""
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    # A successor may have taken the address while we drained.
    if path is not None and not _answers(Path(path)):
        Path(path).unlink(missing_ok=True)


def url(listener: socket.socket) -> str:
    """Return the address of a listening socket as people type it."""
    if listener.family == socket.AF_UNIX:
        return f"{UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen_unix(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            # What a killed predecessor left behind; a living one still answers.
            if stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
                path.unlink()
        listener.bind(str(path))
        path.chmod(mode)  # before it listens: nobody can be faster
        return _ready(listener)
    except OSError:
        listener.close()
        raise


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _ready(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
