"""Whether the connections that all workers may open fit into what their servers allow."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from servekit.event_log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most connections that one worker opens to a server, and what that allows all clients."""

    server: str
    connections: int
    limit: int
    remedy: str


class Reserves(ABC):
    """A part of a service that holds connections to a server."""

    @abstractmethod
    async def reservation(self) -> Reservation | None:
        """Return what it may open; None where its server names no limit. May raise anything."""


async def tell_reservations(parts: Iterable[Any], workers: int) -> None:
    """Log for each part that reserves connections what all workers may open, and if it fits.

    Only the first worker tells. What a server does not say, or cannot now, is left out.
    """
    if os.environ.get("WORKER_SLOT") != "0":
        return
    for part in parts:
        if not isinstance(part, Reserves):
            continue
        try:
            found = await part.reservation()
        except Exception as error:  # noqa: BLE001 - whoever needs the server says what is wrong
            log.debug("connections_unknown", part=type(part).__name__, reason=repr(error))
            continue
        if found is None:
            continue
        connections = workers * found.connections
        facts = {"workers": workers, "connections": connections, "limit": found.limit}
        if connections > found.limit:
            remedy = f"{found.remedy}, or fewer WORKERS"
            log.warning("connections_exceed_limit", server=found.server, remedy=remedy, **facts)
        else:
            replicas = found.limit // connections
            log.info("connections_reserved", server=found.server, replicas_max=replicas, **facts)
