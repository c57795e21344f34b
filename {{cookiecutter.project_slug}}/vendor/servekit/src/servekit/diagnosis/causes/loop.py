"""What keeps the event loop from running, among the causes that share its stalled seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.wording import names, score, seconds_of, told
from servekit.diagnosis.evidence import Verdict, most
from servekit.diagnosis.remedies import TITLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servekit.diagnosis.evidence import Evidence
    from servekit.diagnosis.readings import Window
    from servekit.diagnosis.stacks import Frame

LIMITS = {  # seconds of each second, between which the score goes from 0 to 100
    "stopped": (0.1, 0.5),
    "steal": (0.05, 0.3),
    "cpu_quota": (0.05, 0.3),
    "cpu_starvation": (0.1, 0.4),
    "gc": (0.1, 0.5),
    "gil_contention": (0.1, 0.5),
    "blocking_call": (0.1, 0.5),
    "cpu_on_loop": (0.1, 0.5),
}
CODE = ("gil_contention", "blocking_call", "cpu_on_loop")
"""Those of the service's own code."""
STALLED_SECONDS = "stalled seconds"
PART = 0.2
"""Of a window's stalled seconds: a smaller one is no cause of them."""
SPECIAL = {"blocking_call": ("log", "log_blocks"), "cpu_on_loop": ("json", "huge_json")}
"""What a cause is called where the profile saw mostly one activity."""
MOSTLY = 0.5
THREADS = re.compile(r"/anyio/to_thread\.py$|/servekit/offload/threads\.py$|/asyncio/threads\.py$")


def loop_cause(evidence: Evidence, cause: str) -> Verdict | None:
    """Look for one cause of a loop that stands still."""
    limit, full = LIMITS[cause]

    def holds(window: Window) -> bool:
        return window.is_stalled and evidence.stalls(window).get(cause, 0.0) >= max(
            limit * window.seconds, PART * window.stalled
        )

    found = evidence.confirmed(holds)
    if not found:
        return None
    seconds, workers = seconds_of(found), names(found)
    name, places = named(evidence, cause, workers)
    if not name:
        return None
    sums = {one: sum(evidence.stalls(each).get(one, 0.0) for each in found) for one in LIMITS}
    share = sums[cause] / evidence.total(lambda window: window.stalled)
    silent = [one for one in LIMITS if sums[one] < LIMITS[one][0] * seconds]
    return Verdict(
        name,
        score(sums[cause] / seconds, limit, full),
        share,
        STALLED_SECONDS,
        workers,
        f"{TITLES[name]}: {sums[cause] / seconds:.2f} s of each second in {told(workers)}, "
        f"{share:.0%} of the time in which the event loops stood still",
        places,
        route_of(evidence, name, found) if places or name != cause else "",
        tuple(f"{TITLES[one]}: {sums[one] / seconds:.2f} s a second" for one in silent),
    )


def route_of(evidence: Evidence, cause: str, found: list[Window]) -> str:
    """Return the route whose code it is: what stands still is, or what waits for a thread."""
    if cause != "gil_contention":
        return most(found, "asyncio_eventloop_blocked_total")
    return evidence.waiting(names(found), waits_for_thread).route


def waits_for_thread(stack: Sequence[Frame]) -> bool:
    """Tell whether who waits here has a thread at work."""
    return any(THREADS.search(frame.file) for frame in stack)


def named(evidence: Evidence, cause: str, workers: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return what a cause is called and where it is; no name if no one place is to blame."""
    if cause == "gil_contention":
        return cause, evidence.holders(workers)
    if cause not in SPECIAL:
        return cause, ()
    activity, special = SPECIAL[cause]
    places = evidence.places(workers)
    if evidence.spent_on(activity, workers) >= MOSTLY:
        return special, places or ()
    return ("" if places == () else cause), places or ()
