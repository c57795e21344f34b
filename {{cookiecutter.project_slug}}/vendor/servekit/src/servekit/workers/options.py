"""What the supervisor and its workers are told: plain values that survive JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """Limits of one worker's connections; times in seconds, sizes in bytes."""

    header_seconds: float = 10
    body_seconds: float = 30
    body_bytes_per_second: int = 500
    keep_alive_seconds: float = 75
    header_bytes: int = 32_768
    header_count: int = 100
    uri_bytes: int = 8192
    connections: int = 1000
    drain_delay_seconds: float = 0
    drain_seconds: float = 20
    close_seconds: float = 5
    """Time for the application's own shutdown, after the last request."""

    @property
    def stop_seconds(self) -> float:
        """Longest time from the order to drain to the end of the process."""
        return self.drain_delay_seconds + self.drain_seconds + self.close_seconds


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """What to run, where, how often and for how long; times in seconds."""

    program: str
    arguments: tuple[str, ...] = ()
    """What the function that `program` names is called with."""
    workers: int = 1
    start_method: Literal["fork", "spawn"] = "fork"
    start_seconds: float = 60
    hang_seconds: float = 10
    recycle_requests: int = 0
    recycle_rss_bytes: int = 0
    sample_seconds: float = 5
    idle_seconds: float = 1
    """Time that an idle connection of a replaced worker stays, so that its client's next request is
    answered and asked to reconnect."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)
