"""What all connections of a worker share."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servekit.edge.cycle import CheckedCycle, FastHeadCycle
from servekit.edge.head import COMMON_HEADERS, HeadWriter
from servekit.edge.instant import NeverInstant
from servekit.foreign.versions import fast_ways

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servekit.edge.head import Header
    from servekit.edge.instant import Instant
    from servekit.edge.limits import ConnectionLimits
    from servekit.edge.refusals import Refusals
    from servekit.foreign.uvicorn import RequestResponseCycle


@dataclass(frozen=True)
class ProtocolOptions:
    """What all connections of a worker share."""

    limits: ConnectionLimits
    refusals: Refusals
    """The answers that the connection itself gives."""
    make_cycle: Callable[..., RequestResponseCycle]
    """What reads and answers one request: uvicorn's class, or one that takes the same."""
    headers_for: Callable[[Sequence[Header]], Sequence[Header]] = lambda _request: ()
    """What those answers carry besides, by the header fields of the request that came so far."""
    instant: Instant = field(default_factory=NeverInstant)
    known_hosts: set[bytes] = field(default_factory=set)
    """Host headers found valid, so that each is matched once."""


def cycle_factory(constant_headers: Sequence[Header]) -> Callable[..., RequestResponseCycle]:
    """Return what makes a request's cycle: our faster one where it was tested, else uvicorn's."""
    writer = HeadWriter([*constant_headers, *COMMON_HEADERS])
    return functools.partial(FastHeadCycle if fast_ways("uvicorn") else CheckedCycle, writer)
