"""What empties the pool of connections to the database: statements, or who holds them meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.waits import wait_cause, waits_for
from servekit.diagnosis.remedies import TITLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servekit.diagnosis.evidence import Evidence, Verdict
    from servekit.diagnosis.stacks import Frame

HOLDS = "(holds a database connection)"
"""What a stack ends with, after what it waits for; see `servekit.monitors.wait_sampler`."""
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
    _, _, how_long = found.sentence.partition(": ")
    sentence = (
        f"{TITLES[cause]}, for {beside.share / held:.0%} of the time that requests held any; "
        f"statements wait for a free one: {how_long}"
    )
    return replace(found, cause=cause, sentence=sentence, places=places, route=beside.route)


def holds(stack: Sequence[Frame]) -> bool:
    """Tell whether who waits here holds a connection."""
    return stack[-1].name == HOLDS


def holds_beside(stack: Sequence[Frame]) -> bool:
    """Tell whether who waits here holds a connection, and waits for something else."""
    return holds(stack) and not waits_for("database", stack)
