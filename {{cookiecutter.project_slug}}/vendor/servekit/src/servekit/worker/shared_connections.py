"""Finds connections that are open before the fork: all workers would speak through each of them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTORS = Path("/proc/self/fd")
FORK_SAFE = ("/var/lib/sss/", "/winbindd")
"""Name services, to which the C library connects for a user's name, and again after a fork."""


def open_sockets() -> dict[int, int]:
    """Return a descriptor for each open socket, by inode; none where there is no such folder."""
    found: dict[int, int] = {}
    entries: list[Path] = []
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            entries = list(DESCRIPTORS.iterdir())
    for entry in entries:
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            about = os.fstat(int(entry.name))
            if stat.S_ISSOCK(about.st_mode):
                found[about.st_ino] = int(entry.name)
    return found


def refusal(before: dict[int, int]) -> str:
    """Return in one line why workers cannot be forked: what was connected since `before`."""
    new = [fd for inode, fd in open_sockets().items() if inode not in before]
    peers = sorted({peer for fd in new for peer in connected_to(fd)})
    if not peers:
        return ""
    return (
        f"the application connected to {', '.join(peers)} while it was loaded: the workers forked "
        "from it would share that connection and get each other's answers. Connect in the lifespan "
        "or in a part of the service (service.add), or set WORKER_START_METHOD=spawn."
    )


def connected_to(fd: int) -> Iterator[str]:
    """Yield the peer of a stream; a datagram is whole by itself, and a socket pair has no name."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as one:
        if one.type == socket.SOCK_STREAM:
            name = text(one.getpeername())
            if name and not any(part in name for part in FORK_SAFE):
                yield name


def text(address: Any) -> str:
    """Return an address as people write it: host and port, or a path, `@name` if abstract."""
    if isinstance(address, tuple):
        host, port, *_ = address
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return address.decode(errors="replace").replace("\0", "@", 1)
    return str(address)
