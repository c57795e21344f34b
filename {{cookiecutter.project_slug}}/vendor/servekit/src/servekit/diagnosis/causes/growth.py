"""What grows and does not come back while traffic stays as it is: tasks, open files, memory."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.wording import score, told
from servekit.diagnosis.evidence import Verdict
from servekit.diagnosis.readings import TASKS
from servekit.diagnosis.remedies import MEMORY_MIN, MIB, TITLES
from servekit.notation.numbers import short_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servekit.diagnosis.evidence import Evidence
    from servekit.diagnosis.readings import Window

WINDOWS_MIN = 6
GOES_ON = 0.5
"""Of what was added in the middle third, what the last has to add: whatever fills adds less."""
TASKS_MIN = 20
FILES_MIN = 10
CACHE_COST = 1.5
"""What an estimated byte of a cache may take of memory."""
NAMED_SCORE = 50
"""At least, of memory of which it is known who holds it."""
ANOTHER_PART = 0.5
"""Of the least growth that is told, what counts in another worker than the one that shows it."""
NOBODY = "Objects: no name holds 20 of a type more; garbage, or memory that is no Python object"
REQUEST_BYTES = MIB
"""What a request in progress may take of memory."""


@dataclass(frozen=True)
class Growing:
    """Growth of a worker in a second, between which the score goes from 0 to 100."""

    cause: str
    share_of: str
    unit: str
    limit: float
    full: float


TASK_LEAK = Growing("task_leak", "tasks", "tasks", 1, 20)
FILE_LEAK = Growing("file_leak", "descriptors", "descriptors", 1, 20)
MEMORY_GROWTH = Growing("memory_growth", "memory", "MiB of resident memory", 0.25, 2.5)


def task_leak(evidence: Evidence) -> Verdict | None:
    """Look for a coroutine of which there are ever more tasks, beyond requests and connections."""
    rises: Counter[tuple[str, str]] = Counter()
    for worker, windows in evidence.by_worker().items():
        for name in {name for window in windows for name in window.levels.get(TASKS, {})}:
            rise = steady([window.levels.get(TASKS, {}).get(name, 0.0) for window in windows])
            rises[worker, name] = int(rise - traffic(windows))
    leaking = {of: rise for of, rise in rises.items() if rise >= TASKS_MIN}
    if not leaking:
        return None
    (_, name), _ = Counter(leaking).most_common(1)[0]
    grown = [worker for worker, each in leaking if each == name]

    def tasks(window: Window) -> float:
        return window.levels.get(TASKS, {}).get(name, 0.0)

    return grew(evidence, TASK_LEAK, grown, tasks, coroutine=name)


def file_leak(evidence: Evidence) -> Verdict | None:
    """Look for open files and sockets that are ever more, beyond the clients' connections."""
    grown = [
        worker
        for worker, windows in evidence.by_worker().items()
        if steady_level(windows, "process_open_fds") - traffic(windows) >= FILES_MIN
    ]
    return grew(evidence, FILE_LEAK, grown, lambda window: window.level("process_open_fds"))


def memory_growth(evidence: Evidence) -> Verdict | None:
    """Look for memory that grows on, beyond the caches and what requests in progress take."""
    grown = {}
    for worker, windows in evidence.by_worker().items():
        caches = sum(added(windows, f"{name}_local_size_bytes") for name in ("cache", "session"))
        rise = steady_level(windows, "process_resident_memory_bytes")
        # What large requests take and give back leaves its traces for a while.
        rise -= largest_fall(windows, "process_resident_memory_bytes")
        rise -= CACHE_COST * caches + REQUEST_BYTES * traffic(windows)
        if rise >= MEMORY_MIN * ANOTHER_PART:
            grown[worker] = rise / MIB
    if max(grown.values(), default=0.0) < MEMORY_MIN / MIB:
        return None
    rss = "process_resident_memory_bytes"
    verdict = grew(evidence, MEMORY_GROWTH, list(grown), lambda window: window.level(rss) / MIB)
    if verdict is None or evidence.memory_holders is None:
        return verdict
    if evidence.memory_holders:
        score = max(verdict.score, NAMED_SCORE)
        return replace(verdict, score=score, places=tuple(evidence.memory_holders))
    return replace(verdict, ruled_out=(*verdict.ruled_out, NOBODY))


def grew(
    evidence: Evidence,
    growing: Growing,
    grown: Sequence[str],
    read: Callable[[Window], float],
    coroutine: str = "",
) -> Verdict | None:
    """Return the verdict on what grew in workers; `read` tells how much there is of it."""
    if not grown:
        return None
    workers = tuple(sorted(grown))
    windows = [window for window in evidence.windows if window.worker in grown]
    of_each = [each for name, each in evidence.by_worker().items() if name in grown]
    begun = {each[0].worker: each[0].at for each in of_each}
    seconds = sum(each[-1].at - each[0].at for each in of_each) / len(grown)
    left = sum(read(each[-1]) for each in of_each)
    rise = sum(risen([read(window) for window in each]) for each in of_each)
    answered = sum(window.requests for window in windows if window.at > begun[window.worker])
    unit, *_ = growing.unit.split()
    each_request = f", {short_number(rise / answered)} {unit} a request" if answered else ""
    collections = sum(window.total("python_gc_collections_total") for window in windows)
    connections = sum(added(one, "worker_connections") for one in of_each)
    requests = sum(added(one, "http_server_active_requests") for one in of_each)
    return Verdict(
        growing.cause,
        score(rise / seconds / len(grown), growing.limit, growing.full),
        min(1.0, rise / left) if left else 1.0,
        growing.share_of,
        workers,
        f"{TITLES[growing.cause]}: {rise:.0f} {growing.unit}{f' of {coroutine}' * bool(coroutine)} "
        f"more in {seconds:.0f} s in {told(workers)}, {left:.0f} at the end{each_request}",
        evidence.started(coroutine) if coroutine else (),
        ruled_out=(
            f"Traffic: {connections:.0f} connections, {requests:.0f} requests in progress more",
            f"Garbage: {collections:.0f} collections meanwhile",
        ),
    )


def risen(values: Sequence[float]) -> float:
    """Return by how much values rose, a peak at the beginning aside."""
    third = len(values) // 3
    return max(values[-third:]) - min(values[:third])


def steady(values: Sequence[float]) -> float:
    """Return by how much the lowest values rise from the first third to the last, if they go on."""
    third = len(values) // 3
    if len(values) < WINDOWS_MIN:
        return 0.0
    first, middle, last = min(values[:third]), min(values[third:-third]), min(values[-third:])
    goes_on = middle > first and last - middle >= GOES_ON * (middle - first)
    return last - first if goes_on else 0.0


def steady_level(windows: Sequence[Window], metric: str) -> float:
    """Return the same of a gauge; nothing where it is unknown."""
    if not all(metric in window.levels for window in windows):
        return 0.0
    return steady([window.level(metric) for window in windows])


def largest_fall(windows: Sequence[Window], metric: str) -> float:
    """Return how much lower a gauge was at most than in the second before."""
    values = [window.level(metric) for window in windows]
    falls = (before - after for before, after in itertools.pairwise(values))
    return max(0.0, *falls) if len(values) > 1 else 0.0


def added(windows: Sequence[Window], metric: str) -> float:
    """Return how much higher a gauge was at any time than at the beginning."""
    values = [window.level(metric) for window in windows]
    return max(0.0, max(values) - values[0])


def traffic(windows: Sequence[Window]) -> float:
    """Return how many connections and requests in progress came to those of the beginning."""
    return added(windows, "worker_connections") + added(windows, "http_server_active_requests")
