"""What was seen of a service, and when it is enough to speak of a cause."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servekit.diagnosis.shares import stall_shares
from servekit.diagnosis.stacks import Profile, by_function, own_frame, own_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from servekit.diagnosis.readings import Window
    from servekit.diagnosis.stacks import Frame

OFTEN = 0.3
"""Of a worker's windows, by which one worker alone confirms a cause."""
SOMETIMES = 0.1
"""The same for each of several workers."""
HOT_SHARE = 0.3
WARM_SHARE = 0.15
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
    """`function file:line` of the service's own code, the most frequent first."""
    route: str = ""
    ruled_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The windows of all workers, in order of time, and the profile of each."""

    windows: Sequence[Window]
    profiles: Mapping[str, Profile]
    memory_holders: Sequence[str] | None = None
    """Who holds memory that grows on; None if nobody asked."""

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
        found = sum((each.own_lines() for each in sampled), Counter())
        return told_places(found, busy, "busy samples") if busy else None

    def holders(self, workers: Iterable[str]) -> tuple[str, ...]:
        """Return where other threads were most often seen while they held the interpreter."""
        sampled = self._profiles_of(workers)
        held = sum((each.held for each in sampled), Counter())
        return told_places(own_lines(held), held.total(), "samples that held the interpreter")

    def started(self, coroutine: str) -> tuple[str, ...]:
        """Return where a coroutine begins that tasks run."""
        tasks = (frame for each in self.profiles.values() for frame in each.tasks)
        return tuple({f"{one.name} {one.place}" for one in tasks if one.name == coroutine})

    def waiting(
        self, workers: Iterable[str], at: Callable[[tuple[Frame, ...]], bool]
    ) -> tuple[float, tuple[str, ...], str]:
        """Return the share of all waiting that is of a kind, its lines, and the route most seen.

        `at` is given a stack from the innermost own function on.
        """
        total = 0
        routes: Counter[str] = Counter()
        found: Counter[Frame] = Counter()
        for profile in self._profiles_of(workers):
            for (route, *stack), milliseconds in profile.waits.items():
                total += milliseconds
                below = from_own(tuple(stack))
                if at(below):
                    routes[route.name] += milliseconds
                    found.update({own: milliseconds for own in below[:1] if own.kind == "own"})
        waited = routes.total()  # 0 of a sample that was taken at once
        places = told_places(found, waited, "waiting of this kind") if waited else ()
        share = waited / total if total else 0.0
        return share, places, max(routes, key=routes.__getitem__, default="")

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


def told_places(found: Counter[Frame], samples: int, of: str) -> tuple[str, ...]:
    """Return the functions that stand out, each at the line seen most; nothing if none does."""
    # What starts the service is below everything.
    own = Counter({frame: n for frame, n in found.items() if frame.name != "<module>"})
    ranked = [(frame, count / samples) for frame, count in by_function(own).most_common(3)]
    if not ranked or ranked[0][1] < HOT_SHARE:
        return ()
    return tuple(
        f"{frame.name} {frame.place} ({share:.0%} of the {of})"
        for frame, share in ranked
        if share >= WARM_SHARE
    )


def essence(profile: Profile) -> Profile:
    """Return a profile with the innermost function of each stack, the innermost own one before."""
    kept = Profile(free=profile.free, tasks=profile.tasks)
    for stack, milliseconds in profile.waits.items():
        kept.waits[*stack[:1], *from_own(stack[1:])] += milliseconds
    for stacks, all_of in ((kept.stacks, profile.stacks), (kept.held, profile.held)):
        for stack, count in all_of.items():
            ends = (own_frame(stack), *stack[-1:])
            stacks[tuple(dict.fromkeys(filter(None, ends)))] += count
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
