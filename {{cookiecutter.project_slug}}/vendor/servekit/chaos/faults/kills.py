"""Workers that are killed, and the requests that went with them."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.traffic.load import Outcome, Sample


@dataclass(frozen=True)
class Kill:
    """A worker's end: right before it was killed and when it was gone, by `perf_counter`."""

    worker: int
    began: float
    gone: float

    def had(self, outcome: Outcome) -> list[Sample]:
        """Return the requests that the worker can have been working on."""
        if math.isnan(outcome.began):
            raise ValueError("when this load began is not known")
        return [
            one
            for one in outcome.samples
            if one.worker in {self.worker, 0}
            and outcome.began + one.scheduled < self.gone
            and outcome.began + one.scheduled + one.latency > self.began
        ]


async def kill(pid: int) -> Kill:
    """Kill a worker, and wait until the kernel has taken it apart, its connections included."""
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while _exists(pid):  # noqa: ASYNC110 - the kernel sets no event
        await asyncio.sleep(0.001)
    return Kill(pid, began, time.perf_counter())


def _exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        # Its files are closed by the last of its threads, and the first is the first to end.
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False
