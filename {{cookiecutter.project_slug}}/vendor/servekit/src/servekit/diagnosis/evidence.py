"""What was seen of a service, and when it is enough to speak of a cause."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from servekit.diagnosis.shares import stall_shares
from servekit.diagnosis.stacks import HOLDS, Profile, own_frame
from servekit.diagnosis.ways import own_way, own_ways, told_callers, told_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from servekit.diagnosis.readings import Window
    from servekit.diagnosis.source import Within
    from servekit.diagnosis.stacks import Frame

OFTEN = 0.3
"""Of a worker's windows, by which one worker alone confirms a cause."""
SOMETIMES = 0.1
"""The same for each of several workers."""
HELD_SHARE, FREE_SHARE = 0.5, 0.2
HELD_SAMPLES_MIN = 10
ACTIVITIES = {
    "json": re.compile(
        r"/(json/(encoder|__init__)|fastapi/(encoders|responses|routing|_compat/\w+)"
        r"|starlette/responses|pydantic/(main|root_model|type_adapter))\.py$"
    ),
    "log": re.compile(
        r"/(logging/(__init__|handlers)|servekit/(event_log|logs)|structlog/\w+)\.py$"
    ),
}
"""The files whose functions call what takes the time, as C code has no place of its own."""
COLLECTOR = re.compile(r"/servekit/monitors/gc_monitor\.py$")


@dataclass(frozen=True)
class Verdict:
    """A cause, how sure it is (`score`, 0 to 100), and what to do about it.

    `share` is the part of the stalled seconds, of the seconds of requests, of requests, look-ups,
    tasks, files or memory that the cause explains; `share_of` says which.
    """

    cause: str
    score: int
    share: float
    share_of: str
    workers: tuple[str, ...]
    sentence: str
    places: tuple[str, ...] = ()
    """`function file:line` of the service's own code, the most frequent first.

    ` -> ` stands between functions of which one awaits the next.
    """
    route: str = ""
    ruled_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waited:
    """Of what requests waited for, that of one kind, in milliseconds."""

    total: int
    """Of every kind."""
    ways: Counter[tuple[Frame, ...]]
    """By the own functions on the way to it, outermost first; without any where there are none."""
    routes: Counter[str]
    held: Counter[str]
    """By what was held meanwhile, as samples tell it; see `monitors.wait_sampler`."""

    @property
    def share(self) -> float:
        """Return the part that it is of all waiting."""
        return self.ways.total() / self.total if self.total else 0.0

    @property
    def route(self) -> str:
        """Return the route that was seen most."""
        return max(self.routes, key=self.routes.__getitem__, default="")

    def places(self, of: str, *, whole: bool = False) -> tuple[str, ...]:
        """Return the innermost own lines, or the `whole` ways there, with shares of `of`."""
        found: Counter[tuple[Frame, ...]] = Counter()
        for way, milliseconds in self.ways.items():
            found[way if whole else way[-1:]] += milliseconds
        return told_places(found, found.total(), of)


@dataclass(frozen=True)
class Evidence:
    """The windows of all workers, in order of time, and the profile of each."""

    windows: Sequence[Window]
    profiles: Mapping[str, Profile]
    memory_holders: Sequence[str] | None = None
    """Who holds memory that grows on; None if nobody asked."""
    source: Mapping[str, Within] = field(default_factory=dict)
    """See `diagnosis.source.facts`."""

    def confirmed(self, holds: Callable[[Window], bool], *, each: bool = False) -> list[Window]:
        """Return the windows in which something held, if it held often enough to count.

        That is in three windows of ten of a worker, or in one of ten of several workers; with
        `each` every worker has to show three of ten of its own.
        """
        found = [window for window in self.windows if holds(window)]
        held, seen = (Counter(each.worker for each in some) for some in (found, self.windows))
        needed = OFTEN if each else SOMETIMES
        concerned = {name for name, count in held.items() if count >= needed * seen[name]}
        often = any(held[name] >= OFTEN * seen[name] for name in concerned)
        if len(concerned) > 1 or often:
            return [window for window in found if window.worker in concerned]
        return []

    def total(self, read: Callable[[Window], float]) -> float:
        """Return the sum over all windows."""
        return sum(map(read, self.windows))

    def by_worker(self) -> dict[str, list[Window]]:
        """Return the windows of each worker."""
        found: dict[str, list[Window]] = defaultdict(list)
        for window in self.windows:
            found[window.worker].append(window)
        return found

    def stalls(self, window: Window) -> dict[str, float]:
        """Return the stalled seconds of a window by cause."""
        return stall_shares(window, held=self.held(window.worker))

    def held(self, worker: str) -> bool | None:
        """Tell whether threads of a worker that compute hold the interpreter; None if unknown."""
        profile = self.profiles.get(worker, Profile())
        held, free = profile.held.total(), profile.free
        if held + free < HELD_SAMPLES_MIN:
            return None
        share = held / (held + free)
        return None if FREE_SHARE < share < HELD_SHARE else share >= HELD_SHARE

    def places(self, workers: Iterable[str]) -> tuple[str, ...] | None:
        """Return where the loops of workers were most often seen busy, with shares.

        Nothing if no place stands out, None if they were not sampled.
        """
        sampled = self._profiles_of(workers)
        busy = sum(each.samples - each.idle for each in sampled)
        found = sum((own_ways(each.stacks) for each in sampled), Counter())
        return told_callers(found, busy, "busy samples") if busy else None

    def holders(self, workers: Iterable[str]) -> tuple[str, ...]:
        """Return where other threads were most often seen while they held the interpreter."""
        sampled = self._profiles_of(workers)
        held = sum((each.held for each in sampled), Counter())
        return told_callers(own_ways(held), held.total(), "samples that held the interpreter")

    def started(self, coroutine: str) -> tuple[str, ...]:
        """Return where a coroutine begins that tasks run."""
        tasks = (frame for each in self.profiles.values() for frame in each.tasks)
        starts = self.source.get("started", {}).get(coroutine, [])
        by = "".join(f", started at {line}" for line in starts)
        return tuple({f"{one.name} {one.place}{by}" for one in tasks if one.name == coroutine})

    def waiting(
        self,
        workers: Iterable[str],
        at: Callable[[tuple[Frame, ...]], bool],
        among: Callable[[str, tuple[Frame, ...]], bool] = lambda *_: True,
    ) -> Waited:
        """Return what requests waited for that is of a kind.

        `at` is given a stack from the innermost own function on, `among` the route and the own
        functions on the way.
        """
        found = Waited(0, Counter(), Counter(), Counter())
        total = 0
        for profile in self._profiles_of(workers):
            for (begin, *stack), milliseconds in profile.waits.items():
                total += milliseconds
                way = own_way(stack)
                if at(from_own(tuple(stack))) and among(begin.name, way):
                    found.routes[begin.name] += milliseconds
                    found.ways[way] += milliseconds
                    if stack[-1].name.startswith(HOLDS):
                        found.held[stack[-1].name] += milliseconds
        return replace(found, total=total)

    def spent_on(self, activity: str, workers: Iterable[str]) -> float:
        """Return the share of the busy samples that saw `json` or `log` at work."""
        sampled = self._profiles_of(workers)
        busy = sum(each.samples - each.idle for each in sampled)
        found = sum((each.innermost() for each in sampled), Counter())
        busy -= sum(n for frame, n in found.items() if COLLECTOR.search(frame.file))
        seen = sum(n for frame, n in found.items() if ACTIVITIES[activity].search(frame.file))
        return seen / busy if busy else 0.0

    def _profiles_of(self, workers: Iterable[str]) -> list[Profile]:
        return [self.profiles[name] for name in workers if name in self.profiles]


def essence(profile: Profile) -> Profile:
    """Return a profile with the own functions of each stack and the innermost one.

    Of what requests wait for it is all that the innermost own one awaits.
    """
    kept = Profile(free=profile.free, tasks=profile.tasks)
    for stack, milliseconds in profile.waits.items():
        below = from_own(stack[1:])
        before = own_way(stack[1 : len(stack) - len(below)])
        kept.waits[*stack[:1], *before, *below] += milliseconds
    for stacks, all_of in ((kept.stacks, profile.stacks), (kept.held, profile.held)):
        for stack, count in all_of.items():
            stacks[*own_way(stack[:-1]), *stack[-1:]] += count
    return kept


def from_own(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return a stack from its innermost own function on; all of it without one."""
    own = own_frame(stack)
    return stack if own is None else stack[len(stack) - 1 - stack[::-1].index(own) :]


def most(windows: Iterable[Window], metric: str) -> str:
    """Return the label for which a counter grew most, or nothing."""
    found: Counter[str] = Counter()
    for window in windows:
        found.update(window.deltas.get(metric, {}))
    return max(found, key=found.__getitem__, default="")
