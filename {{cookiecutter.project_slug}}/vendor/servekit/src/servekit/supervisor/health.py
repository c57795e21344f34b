"""Finds workers that hang, and those grown old or large."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from servekit.event_log import get_logger
from servekit.process_memory import rss_bytes
from servekit.supervisor import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.supervisor.program import SupervisorConfig
    from servekit.supervisor.worker_process import WorkerProcess

TICK_SECONDS = 0.25
DUMP_SECONDS = 1.25
SAMPLES_IN_A_ROW = 3
SPREAD = 0.05

log = get_logger()


class HealthChecks:
    """Compares every worker that serves with its limits, four times a second."""

    def __init__(
        self,
        config: Callable[[], SupervisorConfig],
        serving: Callable[[], dict[int, WorkerProcess]],
        *,
        tell: Callable[[events.Event], None],
    ) -> None:
        self._read_config = config
        self._serving = serving
        self._tell = tell
        self._samples_above_limit: Counter[int] = Counter()
        self._limits_checked: int | None = None

    @property
    def _config(self) -> SupervisorConfig:
        return self._read_config()

    async def run(self) -> None:
        """Check until cancelled."""
        self._check_limits()
        checked = sampled = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self._check_hangs(late=now - checked > 1 + TICK_SECONDS)
            checked = now
            self._check_requests()
            if now - sampled >= self._config.sample_seconds:
                sampled = now
                self._check_limits()
                self._check_memory()

    def _check_limits(self) -> None:
        """Say which limits even fresh workers do not keep: once for each code, with its limits."""
        serving = list(self._serving().values())
        newest = max((each.generation for each in serving), default=0)
        if self._limits_checked == newest:
            return  # new limits come with new code; workers of the old have grown
        self._limits_checked = newest
        fresh = [each.pid for each in serving if each.generation == newest]
        taken = max(map(rss_bytes, fresh), default=0)
        for setting, limit in self._config.rss_limits.items():
            if 0 < limit < taken:
                mib = {"limit_mib": limit >> 20, "worker_mib": taken >> 20}
                log.error("limit_below_fresh_worker", setting=setting, **mib)

    def _check_hangs(self, *, late: bool) -> None:
        if not self._config.hang_seconds:
            return
        # The dump and the start take their time too: the replacement serves within the limit.
        limit = self._config.hang_seconds - DUMP_SECONDS
        for worker in self._serving().values():
            if late or (worker.silent_seconds > limit and is_debugged(worker)):
                # We stood still ourselves, or somebody holds it: its silence proves nothing.
                worker.heartbeat_at = time.monotonic()
            elif worker.silent_seconds > limit:
                self._tell(events.Hung(worker.number, worker.silent_seconds))

    def _check_requests(self) -> None:
        if not self._config.recycle_requests:
            return
        for worker in self._serving().values():
            # Neighbours that started together do not end together.
            limit = self._config.recycle_requests * (1 + SPREAD * (worker.number % 5 - 2))
            if worker.status.get("requests", 0) >= int(limit):
                self._tell(events.Aged(worker.number, "requests"))

    def _check_memory(self) -> None:
        if not self._config.recycle_rss_bytes:
            return
        large = [
            worker.number
            for worker in self._serving().values()
            if rss_bytes(worker.pid) > self._config.recycle_rss_bytes
        ]
        before = self._samples_above_limit
        self._samples_above_limit = Counter({number: before[number] + 1 for number in large})
        for number in large:
            if self._samples_above_limit[number] >= SAMPLES_IN_A_ROW:
                self._tell(events.Aged(number, "rss"))


def is_debugged(worker: WorkerProcess) -> bool:
    """Whether a debugger holds the worker: one inside it, or one attached from outside (Linux)."""
    if worker.status.get("debugger"):
        return True
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{worker.pid}/status").read_text()
        return "TracerPid:\t0\n" not in status
    return False
