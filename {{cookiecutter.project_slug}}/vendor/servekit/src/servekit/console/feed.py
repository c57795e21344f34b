"""What viewers of a service are sent once a second, gathered once for all of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from servekit.background import Background
from servekit.console import figures
from servekit.supervisor.worker_process import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servekit.console.figures import Totals
    from servekit.console.journal import Journal
    from servekit.supervisor.view import SupervisorView
    from servekit.supervisor.worker_process import WorkerProcess

PERIOD_SECONDS = 1.0
ANSWER_SECONDS = 0.5
"""How long the others wait for a worker that is busy."""
GIVE_UP_SECONDS = 120.0
WINDOW = 10
"""Readings of a worker that are kept: what is rare is counted over so many seconds."""
VIEWERS_MAX = 16
RUNNING_MAX = 30

Reading = tuple[float, "Totals"]


class Feed:
    """Asks the workers while somebody looks, and nobody otherwise.

    Who reads slowly is sent the newest there is, and every event of the journal.
    """

    def __init__(self, view: SupervisorView, journal: Journal, about: dict[str, str]) -> None:
        self.viewers = 0
        self._view = view
        self._journal = journal
        self._about = about
        self._readings: dict[int, deque[Reading]] = {}
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._latest: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._background = Background()
        self._sampling: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every stream, so that none keeps the admin port from its end."""
        self._closed = True
        self._changed.set()
        await self._background.cancel()

    @property
    def full(self) -> bool:
        """Whether there are as many viewers as may be."""
        return self.viewers >= VIEWERS_MAX

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield JSON lines: who this is and its last minute, then a document each second."""
        self.viewers += 1
        seen = 0
        try:
            if self._sampling is None or self._sampling.done():
                self._sampling = self._background.keep(self._sample)
            yield line({"about": self._about, "history": self._history()})
            while not self._closed:
                await self._changed.wait()
                events = self._journal.since(seen)
                seen = events[-1]["number"] if events else seen
                yield line({**self._latest, "events": events})
        finally:
            self.viewers -= 1

    async def _sample(self) -> None:
        while self.viewers:
            began = time.monotonic()
            await self._ask()
            self._latest = self._document()
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(max(0.0, began + PERIOD_SECONDS - time.monotonic()))
        self._readings.clear()

    async def _ask(self) -> None:
        """Ask every worker that has answered; one that has not is not asked again."""
        serving = {worker.number: worker for worker in self._view.serving.values()}
        for number in [number for number in self._readings if number not in serving]:
            del self._readings[number]
        for number, worker in serving.items():
            if number not in self._asked:
                self._asked[number] = self._background.spawn(self._read(worker))
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=ANSWER_SECONDS)

    async def _read(self, worker: WorkerProcess) -> None:
        try:
            totals = json.loads(await worker.call("vitals", GIVE_UP_SECONDS))
        except CommandError:
            return
        finally:
            del self._asked[worker.number]
        readings = self._readings.setdefault(worker.number, deque(maxlen=WINDOW + 1))
        readings.append((time.monotonic(), totals))

    def _document(self) -> dict[str, Any]:
        rows = self._view.workers(pss=False)
        by_pid = {row["pid"]: row for row in rows}
        running: list[dict[str, Any]] = []
        for worker in self._view.serving.values():
            row = by_pid.get(worker.pid)
            if row is None:
                continue  # it has ended, and is about to be noticed
            readings = self._readings.get(worker.number)
            row["answers"] = bool(readings) and worker.number not in self._asked
            if readings and row["answers"]:
                last = readings[-2] if len(readings) > 1 else None
                row |= figures.of_worker(last, readings[-1], readings[0])
                running += [
                    {"worker": worker.slot, **request} for request in readings[-1][1]["running"]
                ]
        running.sort(key=lambda request: -request["seconds"])
        spans = [
            (readings[0][1], readings[-1][1], readings[-1][0] - readings[0][0])
            for readings in self._readings.values()
            if len(readings) > 1
        ]
        return {
            "at": time.time(),
            "ready": self._view.ready,
            "stopping": self._view.stopping,
            "wanted": self._view.wanted,
            "reload": self._view.reload_state(),
            "workers": rows,
            "running": running[:RUNNING_MAX],
            "caches": figures.caches(spans),
            "pools": figures.pools(spans),
        }

    def _history(self) -> dict[str, list[dict[str, Any]]]:
        """Return the heartbeats of the last minute, by process id."""
        wanted = ("requests", "lag_seconds", "utilization")
        return {
            str(worker.pid): [
                {name: status.get(name) for name in wanted} for status in worker.history
            ]
            for worker in self._view.serving.values()
        }


def line(document: dict[str, Any]) -> bytes:
    """Return a document as a line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
