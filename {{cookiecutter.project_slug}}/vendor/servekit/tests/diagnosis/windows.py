"""Windows of workers as their counters would have them, and profiles to go with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from servekit.diagnosis.readings import LOOP_CPU, REQUEST, STALLED, Window
from servekit.diagnosis.stacks import IDLE, Frame, Profile

SPOT = Frame("pay", "/srv/shop/orders.py", 12)
Deltas = Mapping[str, float | Mapping[str, float]]

WELL: Deltas = {
    STALLED: 0.0,
    LOOP_CPU: 0.18,
    "process_cpu_seconds_total": 0.2,
    "process_cpu_wait_seconds_total": 0.01,
    "asyncio_eventloop_busy_seconds_total": 0.2,
    "asyncio_eventloop_lag_seconds_sum": 0.1,
    "asyncio_eventloop_lag_seconds_count": 100.0,
    f"{REQUEST}_sum": {"/pay": 1.0},
    f"{REQUEST}_count": {"200": 100.0},
    f"{REQUEST}_bucket": {"0.25": 100.0, "+Inf": 100.0},
}
SLOW: Deltas = {
    f"{REQUEST}_sum": {"/pay": 40.0},
    f"{REQUEST}_bucket": {"0.25": 20.0, "+Inf": 100.0},
}


def seconds_of(*deltas: Deltas, workers: int = 2, count: int = 10, begin: int = 1) -> list[Window]:
    """Return windows of a second, the same in each; later deltas replace earlier ones."""
    merged: dict[str, dict[str, float]] = {}
    for each in (WELL, *deltas):
        for name, value in each.items():
            merged[name] = {"": value} if isinstance(value, int | float) else dict(value)
    return [
        Window(str(worker), float(at), 1.0, merged)
        for at in range(begin, begin + count)
        for worker in range(workers)
    ]


def profiles(busy: Mapping[Frame, int] | None = None, *, workers: int = 2) -> dict[str, Profile]:
    """Return the same profile of each worker: samples by the innermost own function."""
    profile = Profile()
    profile.stacks[(Frame(IDLE),)] = 200
    for frame, count in (busy or {SPOT: 80}).items():
        profile.stacks[(Frame("run", "/x/site-packages/loop.py", 1), frame)] = count
    return {str(worker): profile for worker in range(workers)}


def held(profiles: Mapping[str, Profile], samples: int, free: int = 0) -> dict[str, Profile]:
    """Return profiles in which a thread was seen to hold the interpreter, or to leave it free."""
    stacks: Counter[tuple[Frame, ...]] = Counter()
    stacks[(Frame("spin", "/srv/shop/report.py", 7),)] = samples
    return {name: replace(one, held=stacks, free=free) for name, one in profiles.items()}


def doing(file: str, *, workers: int = 2) -> dict[str, Profile]:
    """Return profiles of loops that are busy in one file of a library, without own code."""
    profile = Profile()
    profile.stacks[Frame("run", "/x/site-packages/loop.py", 1), Frame("write", file, 3)] = 80
    return {str(worker): profile for worker in range(workers)}


def growing(
    windows: Iterable[Window], metric: str, amounts: Mapping[int, float], label: str = ""
) -> list[Window]:
    """Return windows in which a gauge has the value that is told of their second."""
    return [
        replace(one, levels={**one.levels, metric: {label: amounts[round(one.at)]}})
        for one in windows
    ]


def spread() -> dict[Frame, int]:
    """Return samples of many places, none of which stands out."""
    return {Frame(f"f{number}", "/srv/shop/many.py", number): 5 for number in range(1, 20)}
