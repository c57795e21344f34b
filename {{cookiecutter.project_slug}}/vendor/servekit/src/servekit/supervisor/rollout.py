"""The code that workers run: which is current, which is tried next, and when more is loaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from servekit.resilience.backoff import Backoff
from servekit.supervisor import events

if TYPE_CHECKING:
    from servekit.supervisor.roster import Roster, Slot, Worker


OVERTAKEN_SECONDS = 5.0
"""Time that code has to be ready before newer code that was saved takes its place.

Twice as much each time until some is: code may write a source file whenever it is loaded.
"""


class Rollout:
    """Brings new code to all workers.

    `current` is the newest code that has shown a ready worker; `candidate` is newer code, from when
    it is to be loaded until one of its workers is ready. `failure` is why the first never did.
    """

    def __init__(self, roster: Roster) -> None:
        self.current: int | None = None
        self.candidate: int | None = None
        self.failure: events.LoadFailed | events.StartFailed | None = None
        self.last_failure: dict[str, Any] = {}
        """The generation that failed last, and why."""
        self.load_at: float | None = -math.inf
        """When newer code is to be loaded, if it is."""
        self._roster = roster
        self._loaded_at = -math.inf
        self._backoff = Backoff(first_now=False)
        self._generation = 0
        self._rolling = False
        self._prepared = False
        self._overtaken = 0

    @property
    def state(self) -> dict[str, Any]:
        """What somebody who asked for new code waits for: `asked`, until it is `current`."""
        waiting = self.load_at is not None
        return {
            "current": self.current,
            "asked": self._generation + waiting,
            "rolling": self._rolling or self.candidate is not None,
            "failure": self.last_failure,
        }

    def note(self, event: events.Loaded | events.LoadFailed | events.LauncherLost) -> None:
        """Note what became of some code."""
        match event:
            case events.LoadFailed(generation) if generation == self.candidate:
                self.drop_candidate(event)
            case events.Loaded(generation) if generation in self._roster.code:
                self._roster.code[generation] = "launchable"
            case events.LauncherLost(generation) if generation in self._roster.code:
                self._roster.code[generation] = "lost"

    def adopt(self, generation: int) -> None:
        """Note that a worker of some code is ready: all others are to run it too."""
        self._overtaken = 0
        self._rolling = self.current is not None
        self.current = generation
        if generation == self.candidate:
            self.candidate = None

    def drop_candidate(
        self, failure: events.LoadFailed | events.StartFailed, worker: Worker | None = None
    ) -> None:
        """Give up code that does not start: what serves goes on, and newer code is tried later."""
        generation, self.candidate = self.candidate, None
        if self.current is None:
            self.failure = failure
            return
        self.note_failure(failure.reason, generation or self._generation)
        if self.load_at is None and self._roster.retries_code:
            self._load_later()
        self._roster.log(
            "error",
            "reload_failed",
            worker,
            reason=failure.reason,
            trace=failure.trace,
            **self._retry(),
        )

    def _retry(self) -> dict[str, Any]:
        """When it is tried again, if it is."""
        if self.load_at is None:
            return {}
        return {"retry_seconds": round(max(self.load_at - self._roster.now, 0.0), 1)}

    def note_failure(self, reason: str, generation: int) -> None:
        """Remember why some code does not run everywhere."""
        self.last_failure = {"generation": generation, "reason": reason}

    @property
    def overtaken_at(self) -> float:
        """When code that is not ready yet gives way to what was saved since; it may hang.

        Elsewhere a reload under way is finished.
        """
        if self.load_at is None or self.candidate is None or self._roster.retries_code:
            return math.inf
        return self._loaded_at + OVERTAKEN_SECONDS * (1 << self._overtaken)

    def overtaken(self) -> int | None:
        """Give up code whose time for that has come, and return which it was."""
        if self.overtaken_at > self._roster.now:
            return None
        generation, self.candidate = self.candidate, None
        self._overtaken += 1
        self._roster.log("info", "reload_overtaken", generation=generation)
        return generation

    def _load_later(self) -> None:
        now = self._roster.now
        self.load_at = now + self._backoff.delay(now - self._loaded_at)

    def load_when_due(self) -> None:
        """Load code where that was asked for, or where no worker can be started any more."""
        candidate, code = self.candidate, self._roster.code
        if candidate and code[candidate] == "lost" and not self._roster.runs(candidate):
            self.drop_candidate(events.LoadFailed(candidate, "the zygote died"))
        if self.load_at is None and self.candidate is None and not self.launchable(self.current):
            self._load_later()
        if self.load_at is None or self.load_at > self._roster.now or not self._may_load():
            return
        self.load_at, self._loaded_at = None, self._roster.now
        self._generation += 1
        self._prepared = False
        self.candidate = self._generation
        code[self.candidate] = "loading"
        if self.current is not None:
            self._roster.log("info", "reload_begins", generation=self.candidate)
        self._roster.actions.append(events.Load(self.candidate))

    def prepare(self) -> None:
        """Begin on the next code ahead, where that is wanted, while nothing starts."""
        starting = any(each.state == "starting" for each in self._roster.workers.values())
        settled = self.current is not None and self.candidate is None and not starting
        if self._roster.prepares_code and settled and not self._prepared:
            self._prepared = True
            self._roster.actions.append(events.Prepare())

    def _may_load(self) -> bool:
        """Whether nothing is under way; a rollout that has to wait is no reason to wait for it."""
        if self.candidate is not None or self.failure is not None:
            return False
        waiting = all(slot.retry_at > self._roster.now for slot in self._outdated())
        return waiting or not self.launchable(self.current)

    def launchable(self, generation: int | None) -> bool:
        """Whether workers can be started from this code."""
        return generation is not None and self._roster.code[generation] == "launchable"

    def _outdated(self) -> list[Slot]:
        """The slots with a worker of other code than the current."""
        numbers = {
            worker.slot
            for worker in self._roster.workers.values()
            if worker.state in ("starting", "ready") and worker.generation != self.current
        }
        return [slot for slot in self._roster.wanted if slot.number in numbers]

    def note_end(self) -> None:
        """Say so when the last worker of older code is gone."""
        generations = {worker.generation for worker in self._roster.workers.values()}
        if self._rolling and self.candidate is None and generations <= {self.current}:
            self._rolling = False
            self._roster.log("info", "reload_done", generation=self.current)
