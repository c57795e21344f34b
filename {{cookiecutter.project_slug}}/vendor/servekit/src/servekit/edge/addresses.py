"""Addresses of peers as they are, not as a socket for both families shows them."""

from __future__ import annotations

from typing import Any, TypeVar

Port = TypeVar("Port")

MAPPED = "::ffff:"


def plain(address: tuple[str, Port] | None) -> tuple[str, Port] | None:
    """Return an address and port; IPv4 as IPv4, also where it came over a socket of IPv6."""
    if address is None or not address[0].lower().startswith(MAPPED) or "." not in address[0]:
        return address
    return address[0][len(MAPPED) :], address[1]


def with_plain_addresses(protocol: type[Any]) -> type[Any]:
    """Return a class of uvicorn's protocols whose scopes have plain addresses."""

    class PlainAddresses(protocol):  # type: ignore[misc] # whichever library there is
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            for name in ("client", "server"):
                setattr(self, name, plain(getattr(self, name)))

    return PlainAddresses
