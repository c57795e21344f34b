"""What the supervisor tells about itself and its workers: tables, readiness, metrics."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from servekit.process_memory import pss_bytes, rss_bytes
from servekit.supervisor.exposition import merge
from servekit.supervisor.worker_process import CommandError, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servekit.supervisor.supervisor import Supervisor

SCRAPE_SECONDS = 1.0
COMMAND_SECONDS = 150.0
"""Time for a worker's answer; a profile may take 120 s, and has to be written and sent then."""

REASONS = ("crash", "hang", "signal", "start", "reload", "requests", "rss")


class SupervisorView:
    """The operators' side of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._registry = CollectorRegistry()
        self._registry.register(WorkerCollector(supervisor))

    @property
    def ready(self) -> bool:
        """Whether at least one worker serves and the service is not about to end."""
        return not self._supervisor.stopping and bool(self._supervisor.serving())

    def workers(self, *, pss: bool = True) -> list[dict[str, Any]]:
        """Return a row for every living worker process, and for every slot that waits for one.

        Proportional memory (`pss`) takes the kernel a millisecond or two for each.
        """
        restarts = self._supervisor.restarts
        rows = [describe(worker, state, pss=pss) for state, worker in self._supervisor.living()]
        filled = {row["slot"] for row in rows}
        rows += [
            {"slot": slot.number, "pid": None, "state": "waiting"}
            for slot in self._supervisor.slots
            if slot.number not in filled
        ]
        rows.sort(key=lambda row: (row["slot"], row["state"] != "ready"))
        return [row | {"restarts": dict(restarts[row["slot"]])} for row in rows]

    def reload(self) -> dict[str, Any]:
        """Load the code anew and replace worker by worker; returns what to wait for."""
        self._supervisor.reload()
        return self.reload_state()

    def reload_state(self) -> dict[str, Any]:
        """Return which code runs, which was asked for, and what failed last."""
        return self._supervisor.reload_state

    def scale(self, count: int) -> None:
        """Have this many workers."""
        self._supervisor.scale(count)

    @property
    def serving(self) -> dict[int, WorkerProcess]:
        """The worker that serves, by slot."""
        return self._supervisor.serving()

    @property
    def wanted(self) -> int:
        """How many workers there are to be."""
        return len(self._supervisor.slots)

    @property
    def stopping(self) -> bool:
        """Whether the service is about to end."""
        return self._supervisor.stopping

    def set_log_level(self, level: str) -> None:
        """Have every worker, and those that come after it, write events of this level and above."""
        self._supervisor.set_log_level(level)

    def stop(self) -> None:
        """Drain and end."""
        self._supervisor.stop()

    async def scrape(self) -> str:
        """Return the metrics of all workers that answer within a second, and the supervisor's."""
        texts: dict[int, str] = {}

        async def ask(number: int, worker: WorkerProcess) -> None:
            with contextlib.suppress(CommandError):
                texts[number] = (await worker.call("metrics", SCRAPE_SECONDS)).decode()

        serving = self._supervisor.serving()
        await asyncio.gather(*(ask(number, worker) for number, worker in serving.items()))
        return merge(dict(sorted(texts.items())), generate_latest(self._registry).decode())

    async def call(self, slot: int, command: str, arguments: dict[str, Any]) -> bytes:
        """Run a command of one worker.

        Raises:
            CommandError: There is no such worker, or it refused, or it gave no answer in time.
        """
        worker = self._supervisor.serving().get(slot)
        if worker is None:
            raise CommandError(f"there is no worker {slot}")
        if command == "threads":
            return (await worker.thread_stacks()).encode()
        return await worker.call(command, COMMAND_SECONDS, arguments)


def describe(worker: WorkerProcess, state: str, *, pss: bool) -> dict[str, Any]:
    """Return what is known of a worker."""
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": state,
        "uptime_seconds": round(worker.uptime_seconds, 1),
        "heartbeat_age_seconds": round(worker.silent_seconds, 2),
        "rss_bytes": rss_bytes(worker.pid),
        **({"pss_bytes": pss_bytes(worker.pid)} if pss else {}),
        **worker.status,
    }


class WorkerCollector:
    """The supervisor's own metrics, made when they are asked for."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        labels = ["worker"]
        uptime = GaugeMetricFamily("worker_uptime_seconds", "Age of the process.", labels=labels)
        age = GaugeMetricFamily(
            "worker_heartbeat_age_seconds", "Time since the event loop's last sign.", labels=labels
        )
        ready = GaugeMetricFamily("worker_ready", "1 while the worker serves.", labels=labels)
        connections = GaugeMetricFamily(
            "worker_connections", "Connections that clients have open.", labels=labels
        )
        restarts = CounterMetricFamily(
            "worker_restarts", "Replacements by reason.", labels=["worker", "reason"]
        )
        serving = self._supervisor.serving()
        for slot in self._supervisor.slots:
            name, worker = [str(slot.number)], serving.get(slot.number)
            ready.add_metric(name, float(worker is not None))
            if worker is not None:
                uptime.add_metric(name, worker.uptime_seconds)
                age.add_metric(name, worker.silent_seconds)
                connections.add_metric(name, worker.status.get("connections", 0))
            for reason in REASONS:
                restarts.add_metric([*name, reason], slot.restarts[reason])
        yield from (uptime, age, ready, connections, restarts)
