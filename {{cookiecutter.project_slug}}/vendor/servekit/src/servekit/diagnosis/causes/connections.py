"""What empties the pool of connections to the database: statements, or who holds them meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.waits import wait_cause, waits_for
from servekit.diagnosis.remedies import TITLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servekit.diagnosis.evidence import Evidence, Verdict
    from servekit.diagnosis.stacks import Frame

HOLDS = "(holds a database connection"
"""What stands behind what is awaited; where it was taken follows, if that is known."""
TAKEN = re.compile(r" taken at (.*)\)")
BESIDE_SHARE = 0.5


def database_pool(evidence: Evidence) -> Verdict | None:
    """Look for statements that wait for a connection, and tell why none is free."""
    found = wait_cause(evidence, "database_pool")
    if found is None:
        return None
    held = evidence.waiting(found.workers, holds).share
    beside = evidence.waiting(found.workers, holds_beside)
    if not held or beside.share < BESIDE_SHARE * held:
        return found  # they compute what they were taken for
    # Any function on the way may be the one that holds it, and the innermost is the least likely.
    places = beside.places("time in which one was held so", whole=True)
    cause = "connection_held"
    taken = most_taken(beside.held)
    _, _, how_long = found.sentence.partition(": ")
    sentence = (
        f"{TITLES[cause]}, for {beside.share / held:.0%} of the time that requests held any; "
        f"statements wait for a free one: {how_long}"
    ) + (f"; most were taken at {taken}" if taken else "")
    return replace(found, cause=cause, sentence=sentence, places=places, route=beside.route)


def most_taken(held: Counter[str]) -> str:
    """Return where most connections were taken that are held, as far as it is known."""
    known = Counter({found[1]: n for name, n in held.items() if (found := TAKEN.search(name))})
    return max(known, key=known.__getitem__, default="")


def holds(stack: Sequence[Frame]) -> bool:
    """Tell whether who waits here holds a connection."""
    return stack[-1].name.startswith(HOLDS)


def holds_beside(stack: Sequence[Frame]) -> bool:
    """Tell whether who waits here holds a connection, and waits for something else."""
    return holds(stack) and not waits_for("database", stack)
