"""The workers that there are, by slot, and what can be done to one of them."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from servekit.resilience.backoff import Backoff
from servekit.supervisor import events

if TYPE_CHECKING:
    from servekit.supervisor.program import SupervisorConfig

STOP_MARGIN_SECONDS = 1.0
KILL_SECONDS = 5.0
"""A killed process that is still there after this long is given up: the kernel holds it."""
RECYCLE_SECONDS = 600.0
"""A worker that grows too large sooner than this meets a limit that is too low."""


@dataclass(eq=False)
class Worker:
    """A worker process, or the attempt to have one; times in seconds of one clock."""

    number: int
    slot: int
    generation: int
    deadline: float
    state: Literal["starting", "ready", "draining", "ending"] = "starting"
    instead: str = ""
    """Why it starts beside another that still serves in its slot; empty where the slot was free."""
    ready_at: float = 0
    aged: str = ""
    """Why it is to be replaced."""
    end_reason: str = ""
    """Why it ends, unless the service wanted that."""


@dataclass(eq=False)
class Slot:
    """The place of one worker; the number stays, whoever fills it."""

    number: int
    restarts: Counter[str] = field(default_factory=Counter)
    backoff: Backoff = field(default_factory=Backoff)
    retry_at: float = 0
    failing: bool = False
    """The last attempt to have a worker here failed."""
    recycle_backoff: Backoff = field(
        default_factory=lambda: Backoff(
            first_seconds=15, limit_seconds=RECYCLE_SECONDS, reset_seconds=RECYCLE_SECONDS
        )
    )
    recycle_at: float = 0


class Roster:
    """Workers, slots and the code they run; what is done to them is collected in `actions`."""

    def __init__(self, config: SupervisorConfig) -> None:
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.code: dict[int, Literal["loading", "launchable", "lost"]] = {}
        self.now = 0.0
        self.actions: list[events.Action] = []
        self._numbers = itertools.count()
        self.configure(config)

    def configure(self, config: SupervisorConfig) -> None:
        """Use other limits from now on."""
        self._config = config
        self.retries_code = config.retries_code
        self.prepares_code = config.prepares_code
        self._limits = config.limits

    def resize(self, count: int) -> None:
        """Fill this many slots; those above keep their history."""
        self.count = count
        for number in range(count):
            self.slots.setdefault(number, Slot(number))

    @property
    def wanted(self) -> list[Slot]:
        """The slots that are to be filled, by number."""
        return [self.slots[number] for number in range(self.count)]

    def of_slot(self, slot: Slot, *states: str) -> list[Worker]:
        """Return the workers of a slot that are in one of these states."""
        return [
            worker
            for worker in self.workers.values()
            if worker.slot == slot.number and worker.state in states
        ]

    def runs(self, generation: int) -> bool:
        """Whether a worker of this code serves, or is about to."""
        return any(
            worker.generation == generation and worker.state in ("starting", "ready")
            for worker in self.workers.values()
        )

    def launch(self, slot: Slot, generation: int, instead: str = "") -> None:
        """Start a worker; `instead` says why, where another still serves in the slot."""
        number = next(self._numbers)
        deadline = self.now + self._config.start_seconds
        self.workers[number] = Worker(number, slot.number, generation, deadline, instead=instead)
        self.actions.append(events.Launch(number, slot.number, generation))

    def end(self, worker: Worker, reason: str, *, accept: bool, delay: float) -> None:
        """Drain a worker that serves, and kill one that only starts."""
        if worker.state == "starting":
            self.kill(worker)
        elif worker.state == "ready":
            self.drain(worker, reason, accept=accept, delay=delay)

    def drain(self, worker: Worker, reason: str, *, accept: bool, delay: float) -> None:
        """Have a worker finish what it does; it may accept until the delay is over."""
        self.leaves(worker, "draining", delay)
        self.actions.append(events.Drain(worker.number, reason, accept, delay))

    def kill(self, worker: Worker, why: str = "", **facts: Any) -> None:
        """End a process at once; with `why` it is logged where the worker stands."""
        self.leaves(worker, "ending")
        self.actions.append(events.Kill(worker.number, why, facts))

    def leaves(
        self, worker: Worker, state: Literal["draining", "ending"], delay: float = 0
    ) -> None:
        """Note that a worker does not serve any more, and when it has to be gone."""
        seconds = KILL_SECONDS
        if state == "draining":
            limits = self._limits
            seconds = delay + limits.drain_seconds + limits.close_seconds + STOP_MARGIN_SECONDS
        worker.state, worker.deadline = state, self.now + seconds

    def leaves_unasked(
        self, worker: Worker, state: Literal["draining", "ending"], reason: str
    ) -> None:
        """Note that a worker ends though it was to serve; its slot is free after a back-off."""
        slot = self.slots[worker.slot]
        slot.restarts[reason] += 1
        slot.retry_at = self.now + slot.backoff.delay(self.now - worker.ready_at)
        worker.end_reason = reason
        self.leaves(worker, state, self._limits.drain_delay_seconds)

    def postpone(self, worker: Worker) -> float:
        """Note that a worker did not start, and return the seconds until its slot tries again."""
        slot = self.slots[worker.slot]
        slot.restarts["start"] += 1
        slot.failing = True
        delay = slot.backoff.delay(0) or slot.backoff.delay(0)
        slot.retry_at = self.now + delay
        self.leaves(worker, "ending")
        return delay

    def note_age(self, worker: Worker, reason: str) -> None:
        """Note that a worker is to be replaced; later, where even new ones are too large."""
        if worker.aged:
            return
        worker.aged = reason
        if reason == "rss":
            slot = self.slots[worker.slot]
            delay = slot.recycle_backoff.delay(self.now - worker.ready_at)
            slot.recycle_at = self.now + delay
            if delay:
                self.log("warning", "recycle_postponed", worker, retry_seconds=round(delay, 1))

    def log_end(self, worker: Worker, status: int | None) -> None:
        """Say how and after how long a worker ended that was to serve, and when another starts."""
        wait = self.slots[worker.slot].retry_at - self.now
        self.log(
            "warning",
            "worker_ended",
            worker,
            reason=worker.end_reason,
            status=status,
            uptime_seconds=round(self.now - worker.ready_at, 1),
            retry_seconds=round(max(wait, 0.0), 1),
        )

    def log(
        self,
        level: str,
        event: str,
        worker: Worker | None = None,
        pids: dict[str, int] | None = None,
        **facts: Any,
    ) -> None:
        """Say what was decided, with the slot and the process that it is about."""
        if worker is not None:
            facts = {"worker": worker.slot, **facts}
            pids = pids or {"pid": worker.number}
        self.actions.append(events.Log(level, event, facts, pids or {}))
