"""What was seen of a service, and when it is enough to speak of a cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from servekit.diagnosis.readings import Window

OFTEN = 0.3
"""Of a worker's windows, by which one worker alone confirms a cause."""
SOMETIMES = 0.1
"""The same for each of several workers."""
HOT_SHARE = 0.3
WARM_SHARE = 0.15


@dataclass(frozen=True)
class Verdict:
    """A cause, how sure it is (`score`, 0 to 100), and what to do about it.

    `share` is the part of the stalled seconds, of the seconds of requests, of requests or of
    look-ups that the cause explains; `share_of` says which.
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

    def confirmed(self, holds: Callable[[Window], bool]) -> list[Window]:
        """Return the windows in which something held, if it held often enough to count.

        That is in three windows of ten of a worker, or in one of ten of several workers.
        """
        found = [window for window in self.windows if holds(window)]
        held, seen = (Counter(each.worker for each in some) for some in (found, self.windows))
        concerned = {name for name, count in held.items() if count >= SOMETIMES * seen[name]}
        often = any(held[name] >= OFTEN * seen[name] for name in concerned)
        if len(concerned) > 1 or often:
            return [window for window in found if window.worker in concerned]
        return []

    def total(self, read: Callable[[Window], float]) -> float:
        """Return the sum over all windows."""
        return sum(map(read, self.windows))

    def places(self, workers: Iterable[str]) -> tuple[str, ...] | None:
        """Return where the loops of workers were most often seen busy, with shares.

        Nothing if no place stands out, None if they were not sampled.
        """
        sampled = [self.profiles[name] for name in workers if name in self.profiles]
        busy = sum(each.samples - each.idle for each in sampled)
        if not busy:
            return None
        found: Counter[tuple[str, str]] = Counter()
        for profile in sampled:
            for frame, count in profile.own_lines().items():
                if frame.name != "<module>":  # what starts the service is below everything
                    found[frame.name, frame.place] += count
        ranked = [(at, count / busy) for at, count in found.most_common(3)]
        if not ranked or ranked[0][1] < HOT_SHARE:
            return ()
        return tuple(
            f"{name} {place} ({share:.0%} of the busy samples)"
            for (name, place), share in ranked
            if share >= WARM_SHARE
        )


def essence(profile: Profile) -> Profile:
    """Return a profile with the innermost own function of each stack, and nothing around it."""
    kept = Profile()
    for stack, count in profile.stacks.items():
        own = next((frame for frame in reversed(stack) if frame.kind == "own"), None)
        kept.stacks[(own or stack[-1],)] += count
    return kept


def most(windows: Iterable[Window], metric: str) -> str:
    """Return the label for which a counter grew most, or nothing."""
    found: Counter[str] = Counter()
    for window in windows:
        found.update(window.deltas.get(metric, {}))
    return max(found, key=found.__getitem__, default="")
