"""Ways: the own functions that lead to what was seen, and how verdicts tell them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from servekit.diagnosis.source import CALLED_BY
from servekit.diagnosis.stacks import Frame, by_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Way = tuple[Frame, ...]
    Callers = Mapping[tuple[str, str], str]

HOT_SHARE = 0.3
WARM_SHARE = 0.15
WAY_MAX = 5
"""Functions of a way that are told, the innermost ones."""
MOSTLY_CALLED = 0.5
"""Of a function's samples, from which on one way to it is told."""


def own_way(stack: Sequence[Frame]) -> Way:
    """Return the own functions of a stack, as many of the innermost as are told."""
    return tuple(frame for frame in stack if frame.kind == "own")[-WAY_MAX:]


def own_ways(stacks: Counter[Way]) -> Counter[Way]:
    """Return samples by the own functions of their stacks; without any where there are none."""
    found: Counter[Way] = Counter()
    for stack, count in stacks.items():
        found[own_way(stack)] += count
    return found


def told_places(
    found: Counter[Way], samples: int, of: str, callers: Callers | None = None
) -> tuple[str, ...]:
    """Return the ways that stand out, each at the lines seen most; nothing if none does.

    Behind each stand the callers of its innermost function, if they are given.
    """
    # What starts the service is below everything.
    own = Counter({way: n for way, n in found.items() if way and way[-1].name != "<module>"})
    ranked = [(way, count / samples) for way, count in by_functions(own).most_common(3) if samples]
    if not ranked or ranked[0][1] < HOT_SHARE:
        return ()
    return tuple(
        f"{written(way)} ({share:.0%} of the {of})"
        f"{(callers or {}).get((way[-1].name, way[-1].file), '')}"
        for way, share in ranked
        if share >= WARM_SHARE
    )


def told_callers(found: Counter[Way], samples: int, of: str) -> tuple[str, ...]:
    """Return the innermost functions of ways that stand out, each with its callers.

    Callers stand where they begin.
    """
    innermost: Counter[Way] = Counter()
    for way, count in found.items():
        innermost[way[-1:]] += count
    return told_places(innermost, samples, of, callers_of(found))


def callers_of(found: Counter[Way]) -> Callers:
    """Return who calls, by the name and the file of innermost functions: the way to most samples.

    Nothing if no way leads to most of them.
    """
    ways_to: defaultdict[tuple[str, str], Counter[Way]] = defaultdict(Counter)
    for way, count in found.items():
        if way:
            before = tuple(frame for frame in way[:-1] if frame.name != "<module>")
            ways_to[way[-1].name, way[-1].file][before] += count
    told = {}
    for function, ways in ways_to.items():
        ((way, count),) = by_functions(ways).most_common(1)
        often = way and count >= MOSTLY_CALLED * ways.total()
        told[function] = f"{CALLED_BY}{written(way)}" if often else ""
    return told


def written(way: Way) -> str:
    """Return a way as it is told."""
    return " -> ".join(f"{frame.name} {frame.place}" for frame in way)
