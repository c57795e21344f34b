"""A random walk through what can happen to a supervisor.

`python -m tests.supervisor.walk STEPS [SEED]` takes it; `make walk` does a million steps.

`World` plays the processes: it carries out what `Decisions` wants, with faults, and tells what
happened, late, twice or never. After each step the promises are checked.
"""

import heapq
import itertools
import random
import sys
from collections import deque

from servekit.supervisor import events
from servekit.supervisor.decisions import SAME_STOP_SECONDS, Decisions
from servekit.supervisor.program import SupervisorConfig, WorkerLimits

CONFIG = SupervisorConfig(
    program="any:thing",
    workers=3,
    start_seconds=10,
    prepares_code=True,
    limits=WorkerLimits(drain_seconds=5, close_seconds=1),
)
BACKOFF_SECONDS = 15.1
SETTLE_SECONDS = 300.0
END_SECONDS = 30.0
FAULTY_STEPS = 150


class ViolationError(AssertionError):
    """A promise was broken."""


def promise(holds: object, text: str) -> None:
    if not holds:
        raise ViolationError(text)


class World:
    """Processes and time, as far as `Decisions` can see them."""

    def __init__(self, rng: random.Random, decisions: Decisions) -> None:
        self.rng = rng
        self.decisions = decisions
        self.roster = decisions.roster
        self.now = 0.0
        self.faulty = True
        self.queue: list[tuple[float, int, events.Event]] = []
        self.order = itertools.count()
        self.alive: dict[int, events.Launch] = {}
        self.loaded: set[int] = set()
        self.closed: set[int] = set()
        self.hopeless: set[int] = set()
        """Code that starts no worker any more: the schema has moved, say."""
        self.named: dict[int, float] = {}
        """When a log record last named a slot."""
        self.causes = 1
        """Reasons for new code so far."""
        self.adopted = 0
        self.prepared = False
        self.end: int | None = None
        self.history: deque[str] = deque(maxlen=25)

    def tell(self, event: events.Event) -> None:
        """Let something happen, carry out what follows, and check the promises."""
        self.causes += isinstance(event, events.ReloadAsked | events.LauncherLost)
        before = self.decisions.rollout.current
        self.history.append(f"{self.now:9.3f}  {event}")
        actions = self.decisions.handle(event, self.now)
        self.history.extend(f"{'':11}-> {action}" for action in actions)
        self.adopted += self.decisions.rollout.current != before
        for action in actions:
            if isinstance(action, events.Close):
                overtaken = isinstance(event, events.ReloadAsked)
                promise(not overtaken, "a reload under way is finished, whatever is asked for")
            self.carry_out(action)
        self.check()

    def later(self, event: events.Event, low: float, high: float) -> None:
        at = self.now + self.rng.uniform(low, high)
        heapq.heappush(self.queue, (at, next(self.order), event))

    def advance(self) -> None:
        """Go on to whatever comes next: an event that is due, or the moment asked for."""
        wake_at = self.decisions.wake_at
        if self.queue and (wake_at is None or self.queue[0][0] <= wake_at):
            self.now, _, event = heapq.heappop(self.queue)
            if self.is_true(event):
                self.tell(event)
        elif wake_at is not None:
            promise(wake_at > self.now, "time asked for lies ahead")
            self.now = wake_at
            self.tell(events.TimePassed())
        else:
            self.now += 1

    def is_true(self, event: events.Event) -> bool:
        """Whether it can still happen: the dead send nothing, and die once."""
        worker = getattr(event, "worker", None)
        if isinstance(event, events.Exited):
            return self.alive.pop(event.worker, None) is not None
        return worker is None or worker in self.alive or self.fault(0.1)

    # What is wanted of it

    def carry_out(self, action: events.Action) -> None:
        match action:
            case events.Load() | events.Prepare():
                self.load(action)
            case events.Close(generation):
                self.close(generation)
            case events.Launch():
                self.launch(action)
            case events.Drain(worker):
                self.later(events.Draining(worker), 0, 0.1)
                if not self.fault(0.2):
                    self.later(events.Exited(worker, 0), 0, 4)
            case events.Kill(worker) if not self.fault(0.02):
                self.later(events.Exited(worker, -9), 0, 0.3)
            case events.Log(_, _, facts, _):
                if "worker" in facts:
                    self.named[facts["worker"]] = self.now
            case events.End(code):
                promise(self.end is None, "the end comes once")
                self.end = code

    def fault(self, probability: float) -> bool:
        return self.faulty and self.rng.random() < probability

    def load(self, action: events.Load | events.Prepare) -> None:
        if isinstance(action, events.Prepare):
            promise(not self.prepared, "the next code is begun on once")
            self.prepared = True
            return
        self.prepared = False
        generation = action.generation
        promise(generation not in self.loaded, "code is loaded once")
        if self.fault(0.3):
            self.later(events.LoadFailed(generation, "broken"), 0, 10)
            return
        self.loaded.add(generation)
        self.later(events.Loaded(generation), 0, 3)

    def close(self, generation: int) -> None:
        users = [each.worker for each in self.alive.values() if each.generation == generation]
        promise(self.roster.workers.keys().isdisjoint(users), "code closes after its last worker")
        wanted = (self.decisions.rollout.current, self.decisions.rollout.candidate)
        stopping = self.decisions.stopping_since is not None
        promise(stopping or generation not in wanted, "code that is needed stays open")
        self.closed.add(generation)

    def launch(self, action: events.Launch) -> None:
        promise(action.generation in self.loaded - self.closed, "workers start from open code")
        self.alive[action.worker] = action
        fate = self.rng.random() if self.faulty else 1.0
        fate = 0.15 if action.generation in self.hopeless else fate
        if fate < 0.1:  # no process at all
            self.later(events.StartFailed(action.worker, "EAGAIN"), 0, 0.1)
            self.later(events.Exited(action.worker, None), 0, 0.1)
        elif fate < 0.2:
            self.later(events.StartFailed(action.worker, "refused"), 0, 2)
        elif fate < 0.3:
            self.later(events.Exited(action.worker, 1), 0, 2)
        elif fate > 0.35:
            self.later(events.Ready(action.worker), 0, 2)

    # What may happen at any time

    def disturb(self) -> None:
        rng = self.rng
        if rng.random() < 0.02:
            self.hopeless.update(self.roster.code)
        worker = rng.choice([*self.roster.workers, 0])
        generation = rng.choice([*self.roster.code, 0])
        choices: list[events.Event] = [
            events.Exited(worker, -11),
            events.Exited(worker, -9),
            events.Hung(worker, 9),
            events.Draining(worker),
            events.Aged(worker, rng.choice(["rss", "requests"])),
            events.LauncherLost(generation),
            events.ReloadAsked(),
            events.ReloadAsked(),
            events.ScaleAsked(rng.randint(1, 5)),
            events.TimePassed(),
        ]
        event = rng.choice(choices)
        if isinstance(event, events.LauncherLost) and generation not in self.loaded:
            return
        if self.is_true(event):
            self.tell(event)

    # Promises

    def check(self) -> None:
        if self.decisions.stopping_since is not None:
            return
        for slot in self.roster.wanted:
            filled = self.roster.of_slot(slot, "starting", "ready")
            promise(len(filled) <= 2, "a slot has one worker and at most one replacement")
            ready = self.roster.of_slot(slot, "ready")
            promise(len(ready) <= 1, "one worker serves in a slot")
            if not filled and self.decisions.started:
                self.check_empty(slot)
        promise(self.adopted <= self.causes, "nobody replaces workers again and again")

    def check_empty(self, slot) -> None:
        """An empty slot waits for a moment that the log names, or for code."""
        if slot.retry_at > self.now:
            promise(slot.retry_at <= self.now + BACKOFF_SECONDS, "a slot is refilled in time")
            promise(slot.number in self.named, "the log says why a slot waits")
            return
        code = self.roster.code
        launchable = "launchable" in (
            code.get(self.decisions.rollout.current or 0),
            code.get(self.decisions.rollout.candidate or 0),
        )
        promise(not launchable, "an empty slot is filled as soon as there is code")
        load_at = self.decisions.rollout.load_at
        coming = self.decisions.rollout.candidate or (
            load_at is not None and load_at <= self.now + 16
        )
        promise(coming, "code is on its way where there is none")

    def settle(self) -> None:
        """Without faults, all that is wanted is there within a bound, and nothing else."""
        self.faulty = False
        if self.hopeless:
            self.tell(events.ReloadAsked())  # somebody brings a repair
        deadline = self.now + SETTLE_SECONDS
        for worker in list(self.alive):
            if self.roster.workers.get(worker) is None:
                del self.alive[worker]
        while not self.settled():
            promise(self.now < deadline, f"settles within {SETTLE_SECONDS:g} s")
            self.advance()
        self.faulty = True

    def settled(self) -> bool:
        if self.end is not None:
            return True
        states = [(worker.state, worker.generation) for worker in self.roster.workers.values()]
        wanted = [("ready", self.decisions.rollout.current)] * self.roster.count
        code = list(self.roster.code)
        return states == wanted and code == [self.decisions.rollout.current] and self.prepared

    def stop(self) -> None:
        """A stop ends within its limits, whatever the workers do."""
        deadline = self.now + END_SECONDS
        self.tell(events.StopAsked())
        twice = self.rng.random() < 0.5
        while self.end is None:
            promise(self.now < deadline, f"ends within {END_SECONDS:g} s")
            if twice and self.now > deadline - END_SECONDS + SAME_STOP_SECONDS:
                twice = False
                self.tell(events.StopAsked())
            else:
                self.advance()


def walk(steps: int, seed: int, kind: type[Decisions] = Decisions) -> int:
    """Take this many steps, in many lives of a supervisor, and return how many lives."""
    rng = random.Random(seed)
    lives = 0
    while steps > 0:
        lives += 1
        world = World(rng, kind(CONFIG))
        try:
            steps -= live(world, rng)
        except ViolationError as violation:
            violation.add_note("\n".join(world.history))
            raise
    return lives


def live(world: World, rng: random.Random) -> int:
    """Start, meet faults and recover from them some times, and stop."""
    world.tell(events.TimePassed())
    steps = 0
    for _ in range(rng.randint(1, 8)):
        for _ in range(rng.randint(1, FAULTY_STEPS)):
            if world.end is None:
                steps += 1
                world.disturb() if rng.random() < 0.15 else world.advance()
        world.settle()
    if world.end is None:
        world.stop()
    return steps


def main() -> None:
    steps = int(sys.argv[1])
    seed = int(sys.argv[2]) if sys.argv[2:] else random.randrange(2**32)
    sys.stdout.write(f"{steps:,} steps with seed {seed}\n")
    sys.stdout.flush()
    try:
        sys.stdout.write(f"no violation in {walk(steps, seed):,} lives\n")
    except ViolationError as violation:
        sys.exit(f"violated: {violation}\n" + "\n".join(violation.__notes__))


if __name__ == "__main__":
    main()
