"""Addresses of peers as they are, not as a socket for both families shows them."""

from __future__ import annotations

from typing import TypeVar

Port = TypeVar("Port")

MAPPED = "::ffff:"


def plain(address: tuple[str, Port] | None) -> tuple[str, Port] | None:
    """Return an address and port; IPv4 as IPv4, also where it came over a socket of IPv6."""
    if address is None or not address[0].lower().startswith(MAPPED) or "." not in address[0]:
        return address
    return address[0][len(MAPPED) :], address[1]
