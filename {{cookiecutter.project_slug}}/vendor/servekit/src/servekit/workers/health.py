"""Finds workers that hang, and those grown old or large."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from servekit.process_memory import rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from servekit.workers.program import SupervisorConfig
    from servekit.workers.slots import Slot
    from servekit.workers.worker_process import WorkerProcess

TICK_SECONDS = 0.25
DUMP_SECONDS = 1.25
SAMPLES_IN_A_ROW = 3


class HealthChecks:
    """Compares every worker with its limits, four times a second."""

    def __init__(
        self,
        config: SupervisorConfig,
        slots: Sequence[Slot],
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        recycle: Callable[[Slot, WorkerProcess, str], Coroutine[Any, Any, None]],
    ) -> None:
        self._config = config
        self._slots = slots
        self._spawn = spawn
        self._replace = recycle
        self._samples_above_limit: Counter[WorkerProcess] = Counter()
        self._recycling: set[WorkerProcess] = set()

    async def run(self) -> None:
        """Check until cancelled."""
        checked = sampled = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self._check_hangs(late=now - checked > 1 + TICK_SECONDS)
            checked = now
            self._check_requests()
            if now - sampled >= self._config.sample_seconds:
                sampled = now
                self._check_memory()

    def _check_hangs(self, *, late: bool) -> None:
        # The dump and the start take their time too: the replacement serves within the limit.
        limit = self._config.hang_seconds - DUMP_SECONDS
        for slot, worker in self._ready():
            if late:
                # We ourselves stood still (stopped, or starved): their silence proves nothing.
                worker.heartbeat_at = time.monotonic()
            elif worker.silent_seconds > limit:
                self._spawn(slot.replace_hung(worker))

    def _check_requests(self) -> None:
        if not self._config.recycle_requests:
            return
        for slot, worker in self._ready():
            if worker.status.get("requests", 0) >= slot.recycle_requests:
                self._recycle(slot, worker, "requests")

    def _check_memory(self) -> None:
        if not self._config.recycle_rss_bytes:
            return
        for slot, worker in self._ready():
            if rss_bytes(worker.pid) <= self._config.recycle_rss_bytes:
                self._samples_above_limit.pop(worker, None)
                continue
            self._samples_above_limit[worker] += 1
            if self._samples_above_limit[worker] >= SAMPLES_IN_A_ROW:
                self._recycle(slot, worker, "rss")

    def _recycle(self, slot: Slot, worker: WorkerProcess, reason: str) -> None:
        if worker not in self._recycling:
            self._recycling.add(worker)
            worker.exited.add_done_callback(lambda _: self._recycling.discard(worker))
            self._samples_above_limit.pop(worker, None)
            self._spawn(self._replace(slot, worker, reason))

    def _ready(self) -> list[tuple[Slot, WorkerProcess]]:
        return [
            (slot, slot.worker)
            for slot in self._slots
            if slot.worker is not None and slot.worker.state == "ready"
        ]
