"""What to do about each event: which code to load, which workers to start, drain and kill.

No process, socket or clock is touched here, so every sequence of events can be tried: the tests
walk through them at random. A decision has two steps: take note of the event, then compare what
there is with what is wanted. So nothing waits for one event alone, and none can come too early.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from servekit.supervisor import events
from servekit.supervisor.rollout import Rollout
from servekit.supervisor.roster import Roster

if TYPE_CHECKING:
    from servekit.supervisor.program import SupervisorConfig
    from servekit.supervisor.roster import Slot, Worker

WORKERS_MAX = 512
SAME_STOP_SECONDS = 2.0
"""A stop that comes again this soon is the same one: process groups and runners pass it on."""


class Decisions:
    """The state of a service's workers and their code, and what follows from it."""

    def __init__(self, config: SupervisorConfig) -> None:
        self.roster = Roster(config)
        self.rollout = Rollout(self.roster)
        self.started = False
        self.stopping_since: float | None = None
        self.ended = False
        self._failed_first: list[tuple[Worker, events.StartFailed]] = []
        self._config = config
        self._exit_code = 0
        self.roster.resize(config.workers)

    def handle(self, event: events.Event, now: float) -> list[events.Action]:
        """Take note of an event, and return what is to be done, in this order."""
        self.roster.now, self.roster.actions = now, []
        self._note(event)
        self._end_overdue()
        self._note_start()
        if self.stopping_since is None:
            self._pursue()
        self._close_unused()
        self._end_when_done()
        return self.roster.actions

    def configure(self, config: SupervisorConfig) -> None:
        """Decide by other limits from now on; the number of workers is asked for apart."""
        self._config = config
        self.roster.configure(config)

    @property
    def wake_at(self) -> float | None:
        """When to tell that time has passed, if nothing else happens before."""
        times = [worker.deadline for worker in self.roster.workers.values()]
        if self.stopping_since is None:
            times += [at for slot in self.roster.wanted for at in (slot.retry_at, slot.recycle_at)]
            times += [self.rollout.overtaken_at]
            times += [math.inf if self.rollout.load_at is None else self.rollout.load_at]
        soonest = min((at for at in times if at > self.roster.now), default=math.inf)
        return None if soonest == math.inf else soonest

    # What happened

    def _note(self, event: events.Event) -> None:
        match event:
            case events.Loaded() | events.LoadFailed() | events.LauncherLost():
                self.rollout.note(event)
            case events.ReloadAsked():
                self.rollout.load_at = self.roster.now
            case events.ScaleAsked(count):
                self._scale(count)
            case events.StopAsked():
                self._stop()
            case events.TimePassed():
                pass
            case _ if event.worker in self.roster.workers:
                self._note_of_worker(event, self.roster.workers[event.worker])

    def _note_of_worker(self, event: events.OfWorker, worker: Worker) -> None:
        match worker.state, event:
            case _, events.Exited():
                self._note_exit(worker, event.status)
            case "starting", events.Ready():
                self._note_ready(worker)
            case "starting", events.StartFailed():
                self._note_failed_start(worker, event)
                self.roster.kill(worker)
            case "ready", events.Draining():
                self.roster.leaves_unasked(worker, "draining", "signal")
            case "ready", events.Hung():
                self.roster.leaves_unasked(worker, "ending", "hang")
                self.roster.kill(
                    worker, "worker_hung", silent_seconds=round(event.silent_seconds, 1)
                )
            case "ready", events.Aged():
                self.roster.note_age(worker, event.reason)

    def _note_ready(self, worker: Worker) -> None:
        before = self.roster.of_slot(self.roster.slots[worker.slot], "ready")
        worker.state, worker.ready_at, worker.deadline = "ready", self.roster.now, math.inf
        self.roster.slots[worker.slot].failing = False
        self.roster.log("info", "worker_started", worker, generation=worker.generation)
        if self.rollout.current is None or worker.generation == self.rollout.candidate:
            self.rollout.adopt(worker.generation)
        for old in before:
            reason = worker.instead or "reload"
            self.roster.slots[worker.slot].restarts[reason] += 1
            pids = {"old": old.number, "new": worker.number}
            self.roster.log("info", "worker_replaced", worker, pids=pids, reason=reason)
            self.roster.drain(old, reason, accept=False, delay=self._config.idle_seconds)

    def _note_failed_start(self, worker: Worker, failure: events.StartFailed) -> None:
        delay = self.roster.postpone(worker)
        if not self.started and self.rollout.current is None:
            self._failed_first.append((worker, failure))
        if worker.generation == self.rollout.candidate and not self.roster.runs(worker.generation):
            self.rollout.drop_candidate(failure, worker)
            return
        if (worker, failure) in self._failed_first:
            return
        if worker.instead == "reload":
            self.rollout.note_failure(failure.reason, worker.generation)
        event = {"": "worker_start_failed", "reload": "reload_failed"}
        self.roster.log(
            "error",
            event.get(worker.instead, "recycle_failed"),
            worker,
            reason=failure.reason,
            trace=failure.trace,
            retry_seconds=round(delay, 1),
        )

    def _note_exit(self, worker: Worker, status: int | None) -> None:
        if worker.state == "starting":
            reason = f"the worker exited with status {status}"
            self._note_failed_start(worker, events.StartFailed(worker.number, reason))
        elif worker.state == "ready":
            self.roster.leaves_unasked(worker, "ending", "crash")
        del self.roster.workers[worker.number]
        if worker.end_reason:
            self.roster.log_end(worker, status)

    def _end_overtaken(self) -> None:
        """End what starts of code that gave way to newer code."""
        generation = self.rollout.overtaken()
        for worker in self.roster.workers.values():
            if worker.generation == generation and worker.state == "starting":
                self.roster.kill(worker)

    def _scale(self, count: int) -> None:
        count = min(max(count, 1), WORKERS_MAX)
        self.roster.log("info", "scaled", before=self.roster.count, after=count)
        self.roster.resize(count)
        for worker in list(self.roster.workers.values()):
            if worker.slot >= count:
                self.roster.end(worker, "scale", accept=False, delay=self._config.idle_seconds)

    def _stop(self) -> None:
        if self.stopping_since is None:
            self.stopping_since = self.roster.now
            self._tell_of_first_failures("")
            self.roster.log("info", "stop_begins", workers=self.roster.count)
            for worker in list(self.roster.workers.values()):
                delay = self._config.limits.drain_delay_seconds
                self.roster.end(worker, "stop", accept=True, delay=delay)
        elif self.roster.now - self.stopping_since >= SAME_STOP_SECONDS:
            self._exit_code = 1
            for worker in self.roster.workers.values():
                self.roster.kill(worker, "worker_forced")

    # What is wanted

    def _pursue(self) -> None:
        self._end_overtaken()
        self.rollout.load_when_due()
        for slot in self.roster.wanted:
            self._fill(slot)
        self._replace_one()
        self.rollout.note_end()
        self.rollout.prepare()

    def _fill(self, slot: Slot) -> None:
        given_up = not self.started and slot.restarts["start"]
        if given_up or slot.retry_at > self.roster.now:
            return
        if self.roster.of_slot(slot, "starting", "ready"):
            return
        generations = [self.rollout.current, self.rollout.candidate]
        if slot.failing and not self.roster.runs(self.rollout.candidate or 0):
            generations.reverse()  # the newer code may be the repair of what does not start
        for generation in generations:
            if generation is not None and self.rollout.launchable(generation):
                self.roster.launch(slot, generation)
                return

    def _replace_one(self) -> None:
        """Start one worker in place of another, if none is about to be and one has to be."""
        if any(each.instead and each.state == "starting" for each in self.roster.workers.values()):
            return
        for slot in self.roster.wanted:
            if replacement := self._replacement(slot):
                self.roster.launch(slot, *replacement)
                return

    def _replacement(self, slot: Slot) -> tuple[int, str] | None:
        """Return the code of which a slot needs another worker, and why."""
        ready = self.roster.of_slot(slot, "ready")
        if not ready or slot.retry_at > self.roster.now or self.roster.of_slot(slot, "starting"):
            return None
        if self.rollout.candidate is not None and self.rollout.launchable(self.rollout.candidate):
            tried = self.roster.runs(self.rollout.candidate)
            return None if tried else (self.rollout.candidate, "reload")
        if self.rollout.current is None or not self.rollout.launchable(self.rollout.current):
            return None
        reason = ready[0].aged if slot.recycle_at <= self.roster.now else ""
        reason = "reload" if ready[0].generation != self.rollout.current else reason
        return (self.rollout.current, reason) if reason else None

    def _note_start(self) -> None:
        """The service has started when each slot was tried and a worker is ready."""
        starting = any(each.state == "starting" for each in self.roster.workers.values())
        if self.rollout.current is not None:
            self._tell_of_first_failures("")
        if self.started or starting or self.stopping_since is not None:
            return
        self._give_up_untried()
        if self.rollout.current is not None:
            self.started = True
            self.roster.actions.append(events.Announce())
        elif failure := self.rollout.failure:
            self._tell_of_first_failures(failure.reason)
            self.roster.log("critical", "start_failed", reason=failure.reason, trace=failure.trace)
            self._exit_code, self.stopping_since = 1, self.roster.now

    def _give_up_untried(self) -> None:
        """Give up code whose last worker to try it went with its slot: nobody else will."""
        candidate = self.rollout.candidate
        if candidate is None or not all(slot.restarts["start"] for slot in self.roster.wanted):
            return
        for worker, failure in self._failed_first:
            if worker.generation == candidate:
                self.rollout.drop_candidate(failure, worker)
                return

    def _tell_of_first_failures(self, told: str) -> None:
        """Say of each worker why it did not start at first, but for the reason that is told."""
        for worker, failure in self._failed_first:
            if failure.reason != told:
                reason, trace = failure.reason, failure.trace
                self.roster.log("error", "worker_start_failed", worker, reason=reason, trace=trace)
        self._failed_first = []

    # What is over

    def _end_overdue(self) -> None:
        for worker in list(self.roster.workers.values()):
            if worker.deadline > self.roster.now:
                continue
            match worker.state:
                case "starting":
                    reason = f"the worker was not ready within {self._config.start_seconds:g} s"
                    self._note_failed_start(worker, events.StartFailed(worker.number, reason))
                    self.roster.kill(worker)
                case "draining":
                    self.roster.log("error", "worker_did_not_stop", worker)
                    self.roster.kill(worker)
                case _:
                    self.roster.log("error", "worker_did_not_die", worker)
                    del self.roster.workers[worker.number]

    def _close_unused(self) -> None:
        """Let go of code that nobody runs and no worker is to be started from."""
        used = {worker.generation for worker in self.roster.workers.values()}
        if self.stopping_since is None:
            used |= {self.rollout.current or 0, self.rollout.candidate or 0}
        for generation in [each for each in self.roster.code if each not in used]:
            del self.roster.code[generation]
            self.roster.actions.append(events.Close(generation))

    def _end_when_done(self) -> None:
        if self.stopping_since is None or self.roster.workers or self.ended:
            return
        self.ended = True
        if not self._exit_code:
            self.roster.log("info", "stopped")
        self.roster.actions.append(events.End(self._exit_code))
