"""Which host a request is for: RFC 9112, 3.2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.edge.head import Header

VALID_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]{0,5})?")
ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
KNOWN_HOSTS_LIMIT = 256
KNOWN_HOST_BYTES = 262  # a name of DNS and a port


def is_host(host: bytes, known: set[bytes]) -> bool:
    """Return whether this can be one; it is `known` then, up to a bound."""
    if not VALID_HOST.fullmatch(host):
        return False
    if len(host) <= KNOWN_HOST_BYTES:
        if len(known) >= KNOWN_HOSTS_LIMIT:
            known.clear()
        known.add(host)
    return True


def host_of_target(target: bytes) -> bytes | None:
    """Return the host that an absolute target names, in whose favour Host is ignored."""
    absolute = ABSOLUTE.match(target)
    return absolute[1] if absolute else None


def replace_host(headers: list[Header], host: bytes) -> None:
    """Put a host in the place of Host, or first where there is none."""
    others = [field for field in headers if field[0] != b"host"]
    headers[:] = [(b"host", host), *others]
