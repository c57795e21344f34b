"""What a new worker is told: its slot, its sockets and its limits."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Self

from servekit.workers.channel import encode
from servekit.workers.options import WorkerLimits


@dataclass(frozen=True, kw_only=True)
class WorkerOrder:
    """A worker's place; numbers of descriptors that it inherited."""

    slot: int
    cell: int
    generation: int
    channel: int
    stacks: int
    board: int
    listeners: tuple[int, ...]
    limits: WorkerLimits

    @classmethod
    def parse(
        cls, order: dict[str, Any], boot: dict[str, Any], *, channel: int, stacks: int
    ) -> Self:
        """Put together what the supervisor said once and what it says for each worker."""
        return cls(
            **order,
            channel=channel,
            stacks=stacks,
            board=boot["board"],
            listeners=tuple(boot["listeners"]),
            limits=WorkerLimits(**boot["limits"]),
        )

    def report_failure(self, reason: str, trace: str) -> None:
        """Tell the supervisor why this worker cannot start, before there is a loop."""
        with socket.socket(fileno=self.channel) as channel:
            channel.sendall(encode({"event": "failed", "reason": reason, "trace": trace}))
