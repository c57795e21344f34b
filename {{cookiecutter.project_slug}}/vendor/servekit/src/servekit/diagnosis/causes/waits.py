"""What requests wait for while their loop is at ease."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from servekit.diagnosis.causes.loop import CODE, loop_cause
from servekit.diagnosis.causes.wording import names, score, seconds_of, told
from servekit.diagnosis.evidence import Verdict, most
from servekit.diagnosis.readings import FAILED_SHARE, REQUEST, STATEMENT
from servekit.diagnosis.remedies import TITLES
from servekit.diagnosis.shares import OTHERS_SHARE, ROUTES, wait_shares, waits
from servekit.diagnosis.source import same_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servekit.diagnosis.evidence import Evidence, Waited
    from servekit.diagnosis.readings import Window
    from servekit.diagnosis.stacks import Frame

LOCKS = re.compile(r"/(asyncio/(locks|mixins)|anyio/.*)\.py$")
ACQUIRE = re.compile(r"(Lock|Semaphore)(Adapter)?\.acquire")
NEIGHBOURS = {
    "redis": re.compile(r"/servekit/redis/|/redis/"),
    "upstream": re.compile(r"/servekit/upstream/"),
    "database": re.compile(r"/sqlalchemy/|/servekit/sql/"),
    "offload": re.compile(r"/servekit/offload/"),
}
WAIT_PART = 0.3
SATURATED = 0.8
REJECTED = "offload_rejected_total"
REFUSED_SCORE = 50
STARVED_FACTOR = 10


@dataclass(frozen=True)
class Waiting:
    """Mean seconds between which the score goes from 0 to 100, and what is counted."""

    limit: float
    full: float
    metric: str


WAITS = {
    "redis_pool": Waiting(0.01, 0.1, "redis_command_duration_seconds"),
    "database_pool": Waiting(0.01, 0.1, STATEMENT),
    "upstream_pool": Waiting(0.01, 0.1, "upstream_request_duration_seconds"),
    "offload_full": Waiting(0.05, 0.5, "offload_queue_wait_seconds"),
    "threads_starved": Waiting(0.05, 0.5, "offload_queue_wait_seconds"),
    "redis_slow": Waiting(0.01, 0.1, "redis_command_duration_seconds"),
    "database_slow": Waiting(0.05, 0.5, STATEMENT),
    "upstream_slow": Waiting(0.1, 1.0, "upstream_request_duration_seconds"),
}


def wait_cause(evidence: Evidence, cause: str) -> Verdict | None:
    """Look for one cause of requests that wait."""
    wait = WAITS[cause]

    def count(window: Window) -> float:
        return counted(window, f"{wait.metric}_count", cause)

    def holds(window: Window) -> bool:
        if window.misses(cause.partition("_")[0]):
            return False  # what is away is not slow: those who wait for it are told so at once
        if not is_at_ease(window) or (cause == "threads_starved" and computes_beside(window)):
            return False
        if counted(window, REJECTED, cause):
            return True
        needed = wait.limit * patience(window) * count(window)
        part = WAIT_PART * window.total(f"{REQUEST}_sum")
        return 0 < needed <= waits(window)[cause] and part <= wait_shares(window)[cause]

    found = evidence.confirmed(holds) or refusing(evidence, cause)
    if not found:
        return None
    workers = names(found)
    asking = {window.worker for window in evidence.windows if count(window)}
    if cause == "redis_slow" and asking != set(workers):
        return None  # what is slow for some workers only is not Redis
    # A call that got no connection made no statement, but has waited.
    waiters = sum(window.total(f"{cause}_wait_seconds_count") for window in found)
    calls = max(1, waiters or sum(map(count, found)))
    mean = sum(waits(window)[cause] for window in found) / calls
    waited = sum(wait_shares(window)[cause] for window in found)
    share = waited / (evidence.total(lambda window: window.total(f"{REQUEST}_sum")) or 1.0)
    rejected = sum(counted(window, REJECTED, cause) for window in found)
    refused = ""
    if rejected:
        requests = evidence.total(lambda window: window.requests) or 1.0
        failed = sum(window.failed for window in found) / requests
        refused = f"; {rejected:.0f} calls were refused, {failed:.0%} of all requests failed"
    waiting = evidence.waiting(workers, partial(waits_for, cause.partition("_")[0]))
    places = waiting.places("waiting for it")
    return Verdict(
        cause,
        max(score(mean, wait.limit, wait.full), REFUSED_SCORE if rejected else 0),
        share,
        "request seconds",
        workers,
        f"{TITLES[cause]}{which(found, wait.metric, cause)}: {mean * 1000:.0f} ms a call in "
        f"{told(workers)}, {share:.0%} of the time of all requests"
        f"{refused}",
        places,
        waiting.route if places else "",
        ruled_out=(loop_of(found),),
    )


def lock_wait(evidence: Evidence) -> Verdict | None:
    """Look for requests that wait for each other, at a lock or semaphore of the service's."""
    found = evidence.confirmed(is_at_ease)
    workers = names(found)
    waiting = evidence.waiting(workers, is_lock)
    places = waiting.places("waiting for a lock")
    requests = evidence.total(lambda window: window.total(f"{REQUEST}_sum")) or 1.0
    explained = evidence.total(lambda window: sum(wait_shares(window).values())) / requests
    share = min(waiting.share, 1.0 - explained)  # what counters tell is not told twice
    if not found or share < WAIT_PART or not places:
        return None
    # A lock does not tell who has it: most likely who waits for something else meanwhile.
    holders = holders_of(evidence, waiting, workers)
    return Verdict(
        "lock_wait",
        score(share, WAIT_PART, 1.0),
        share,
        "request seconds",
        workers,
        f"{TITLES['lock_wait']}: {share:.0%} of the time of all requests in {told(workers)}",
        (*places, *holders),
        waiting.route,
        (
            loop_of(found),
            f"Redis, database, upstreams and pools: {explained:.0%} of the time of all requests",
        ),
    )


def holders_of(evidence: Evidence, waiting: Waited, workers: Sequence[str]) -> tuple[str, ...]:
    """Return the way on which others wait for something else with a lock that is waited for.

    That is within an `async with` of the same lock, on any route; without the source, on the same
    route.
    """
    within = evidence.source.get("within", {})
    asking = [way[-1] for way in waiting.ways if way]
    known = any(frame.place in within for frame in asking)

    def has_it(route: str, way: tuple[Frame, ...]) -> bool:
        if not known:
            return route == waiting.route
        return any(same_lock(one, other, within) for one in way for other in asking)

    besides = evidence.waiting(workers, lambda stack: not is_lock(stack), has_it)
    of = "waiting of who has it" if known else "other waiting of the route: who has it, maybe"
    return besides.places(of, whole=True)[:1]


def loop_of(found: list[Window]) -> str:
    """Return how the event loop was meanwhile."""
    busy = sum(window.busy for window in found) / seconds_of(found)
    lag = sum(window.lag for window in found) / len(found)
    return f"Event loop: busy {busy:.0%}, mean lag {lag * 1000:.1f} ms"


def is_lock(stack: Sequence[Frame]) -> bool:
    """Tell whether own code waits for a lock, and no library between."""
    between = (LOCKS.search(frame.file) for frame in stack[1:] if frame.file)
    own = stack[:1] and stack[0].kind == "own"
    return bool(own and ACQUIRE.fullmatch(last_call(stack)) and all(between))


def last_call(stack: Sequence[Frame]) -> str:
    """Return the innermost function of a stack; what stands for a turn in the loop is none."""
    return next((frame.name for frame in reversed(stack) if frame.file), "")


def waits_for(kind: str, stack: Sequence[Frame]) -> bool:
    """Tell whether own code waits for Redis, a database, an upstream or a pool of `offload`."""
    return kind in NEIGHBOURS and any(NEIGHBOURS[kind].search(frame.file) for frame in stack[1:])


def refusing(evidence: Evidence, cause: str) -> list[Window]:
    """Return the windows in which a pool refused calls, however few, if clients felt it.

    A refusal is a fact that its counter tells, and needs no second window; what fills a pool that
    stands behind a still event loop is the loop.
    """

    def refused(window: Window) -> float:
        return counted(window, REJECTED, cause)

    found = [window for window in evidence.windows if refused(window) and window.failed]
    felt = sum(min(refused(window), window.failed) for window in found)
    if felt < FAILED_SHARE * evidence.total(lambda window: window.requests):
        return []
    return [] if any(loop_cause(evidence, code) for code in CODE) else found


def is_at_ease(window: Window) -> bool:
    """Whether clients wait and the loop does not."""
    return (
        window.is_troubled and not window.is_stalled and window.busy <= SATURATED * window.seconds
    )


def patience(window: Window) -> float:
    """Return by how much more has to be waited where CPUs are scarce: for neighbours they are too.

    That is ten times at 0.9 s of waiting for a CPU in a second.
    """
    return 1 + STARVED_FACTOR * window.deprived / window.seconds


def computes_beside(window: Window) -> bool:
    """Whether threads that are all taken compute: more of them would not help."""
    return window.others_cpu >= OTHERS_SHARE * window.seconds


def counted(window: Window, metric: str, cause: str) -> float:
    """Return how much a counter grew by what a cause is about."""
    if cause == "threads_starved":
        return window.of(metric, ROUTES)
    if cause == "offload_full":
        return window.total(metric) - window.of(metric, ROUTES)
    return 0.0 if metric == REJECTED else window.total(metric)


def which(windows: list[Window], metric: str, cause: str) -> str:
    """Return the pool or upstream that was waited for most, as a sentence names it."""
    name = most(windows, f"{metric}_sum") or most(windows, REJECTED)
    return f" ({name})" if name and cause != "threads_starved" else ""
