"""What all connections of a worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.edge.cycle import HeadWriter
    from servekit.workers.options import WorkerLimits


@dataclass(frozen=True)
class Rules:
    """Limits, prepared answers, and what was found valid before."""

    limits: WorkerLimits
    refusals: dict[int, bytes]
    writer: HeadWriter
    known_hosts: set[bytes] = field(default_factory=set)
    """Host headers found valid, so that each is matched once."""
