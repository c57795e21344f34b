"""What a doctor would see of services for ten seconds, well or with causes at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

from servekit.diagnosis.causes.connections import HOLDS
from servekit.diagnosis.readings import BREAKERS, LOOP_CPU, REQUEST, SLOW_BUCKET, STALLED, Window
from servekit.diagnosis.stacks import Frame, Profile
from tests.diagnosis.model import BUSY, CPU, IN_A_SECOND, RISES, Deltas, levels, well
from tests.diagnosis.windows import doing, held, profiles

SECONDS = 10


def uneven(rng: Random, windows: list[Window]) -> list[Window]:
    """Return windows in which worker 0 has nearly all requests, and trouble of it."""
    return [
        replace(window, deltas=hot(rng) if window.worker == "0" else idle(window))
        for window in windows
    ]


def hot(rng: Random) -> Deltas:
    """Return a second of a worker that serves many requests, and some of them late."""
    deltas = well(rng, 100)
    deltas |= {LOOP_CPU: {"": 0.6}, CPU: {"": 0.6}, BUSY: {"": 0.7}, STALLED: {}}
    requests = rng.uniform(300, 500)
    deltas[f"{REQUEST}_count"] = {"200": requests}
    deltas[f"{REQUEST}_bucket"] = {SLOW_BUCKET: requests * 0.9}
    deltas[f"{REQUEST}_sum"] = {"/": requests}
    return deltas


def idle(window: Window) -> Mapping[str, Mapping[str, float]]:
    """Return the same second with a handful of requests."""
    few = {"200": 5.0}
    bucket = {SLOW_BUCKET: 5.0}
    fewer = {f"{REQUEST}_count": few, f"{REQUEST}_bucket": bucket, BUSY: {"": 0.05}}
    return {**window.deltas, **fewer}


def seen(
    rng: Random, causes: Iterable[str], *, workers: int
) -> tuple[list[Window], dict[str, Profile]]:
    """Return what a doctor sees of workers for ten seconds, in most of which causes are at work."""
    causes, rate = list(causes), rng.uniform(30, 300)
    windows = []
    for worker in map(str, range(workers)):
        # A cache has no good seconds between, as it would be filling.
        spared = [] if "low_hit_ratio" in causes else rng.sample(range(SECONDS), 2)
        gauges = {cause: rng.uniform(*RISES[cause][2:]) for cause in causes if cause in RISES}
        for second in range(SECONDS):
            deltas, gauge = well(rng, rate), levels(rng)
            for cause in causes:
                if cause in IN_A_SECOND and second not in spared:
                    IN_A_SECOND[cause](rng, deltas)
            for neighbour, metric in BREAKERS.items():
                if f"{neighbour}_away" in causes:
                    gauge[metric] = {"one": 0.0, "other": rng.choice([1.0, 2.0])}
            for cause, rise in gauges.items():
                metric, label, *_ = RISES[cause]
                before = gauge[metric].get(label, 0.0)
                gauge[metric] = {**gauge[metric], label: before + rise * second}
            windows.append(Window(worker, float(second + 1), 1.0, deltas, gauge))
    windows.sort(key=lambda window: (window.at, window.worker))
    if "uneven_workers" in causes:
        windows = uneven(rng, windows)
    return windows, sampled(rng, causes, workers=workers)


def at_a_lock(rng: Random) -> Counter[tuple[Frame, ...]]:
    """Return waits of which most are for a lock of the service's own."""
    route, own = Frame("/"), Frame("pay", "/srv/shop/orders.py", 12)
    lock = Frame("Lock.acquire", "/usr/lib/python3.11/asyncio/locks.py", 113)
    sleep = Frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 9)
    most = rng.randint(600, 900)
    return Counter({(route, own, lock): most, (route, own, sleep): 1000 - most})


def holding(rng: Random, *, beside: bool) -> Counter[tuple[Frame, ...]]:
    """Return waits for a connection, and of those that hold one: for the database or beside it."""
    route, own = Frame("/"), Frame("pay", "/srv/shop/orders.py", 12)
    database = Frame("greenlet_spawn", "/x/site-packages/sqlalchemy/util/_concurrency_py3k.py", 9)
    sleep = Frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 9)
    most, few = rng.randint(200, 500), rng.randint(0, 150)
    at, other = (sleep, database) if beside else (database, sleep)
    waits: Counter[tuple[Frame, ...]] = Counter()
    waits[route, own, at, Frame(HOLDS)] = most
    waits[route, own, other, Frame(HOLDS)] = few
    waits[route, own, database] = rng.randint(200, 900)
    return waits


def sampled(rng: Random, causes: list[str], *, workers: int) -> dict[str, Profile]:
    """Return what the workers' loops and threads were seen at."""
    found = profiles(workers=workers)
    if "overload" in causes or not causes:
        places = {Frame(f"f{n}", "/srv/shop/many.py", n): rng.randint(3, 6) for n in range(1, 20)}
        found = profiles(places, workers=workers)
    if "huge_json" in causes:
        found = doing("/x/site-packages/fastapi/routing.py", workers=workers)
    if "log_blocks" in causes:
        found = doing("/usr/lib/python3.11/logging/__init__.py", workers=workers)
    if "lock_wait" in causes:
        found = {name: replace(one, waits=at_a_lock(rng)) for name, one in found.items()}
    for cause in {"database_pool", "connection_held"} & set(causes):
        waits = holding(rng, beside=cause == "connection_held")
        found = {name: replace(one, waits=waits) for name, one in found.items()}
    if "gil_contention" in causes:
        return held(found, rng.randint(20, 700), free=rng.randint(0, 10))
    return held(found, 0, free=rng.randint(0, 300))
