"""What the collector's settings and malloc's arenas do: pauses and requests; resident memory.

Each variant runs in a process of its own, several times in turn; the medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CACHED = 100_000
REQUESTS = 40_000
SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
HEADERS = [(b"host", b"localhost")]
DEFAULT, OURS, RARE = "700,10,10", "10000,2,50", "1000,10,100"
COLLECTOR = [(DEFAULT, False), (DEFAULT, True), (OURS, False), (OURS, True), (RARE, True)]
ARENAS: list[dict[str, str]] = [
    {},
    {"MALLOC_ARENA_MAX": "2"},
    {"MALLOC_ARENA_MAX": "1"},
    {"MALLOC_TRIM_THRESHOLD_": "131072"},
]
THREADS = 8
BODIES = 400


async def receive() -> dict[str, Any]:
    """Receive an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: MutableMapping[str, Any]) -> None:
    """Send nothing, and see that it is an answer."""
    assert message.get("status", HTTPStatus.OK) == HTTPStatus.OK


async def requests() -> dict[str, float]:
    """Answer requests as a worker does; each replaces one of 100,000 cached values."""
    import chaos.app.application  # noqa: F401 - for what lies on the heap of a worker
    from bench.layers import bare, layers

    app = bare()
    for _, wrap in layers():
        app = wrap(app)
    thresholds, freeze = sys.argv[2:]
    gc.collect()
    if freeze == "True":
        gc.freeze()
    gc.set_threshold(*map(int, thresholds.split(",")))

    def value(number: int) -> dict[str, Any]:
        return {"id": number, "name": f"Product {number}", "tags": ["a", str(number)]}

    cached = [value(number) for number in range(CACHED)]
    gc.collect()
    pauses: list[float] = []
    began = 0.0

    def watch(phase: str, _: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - began)

    gc.callbacks.append(watch)
    cpu = time.process_time()
    for number in range(0, REQUESTS, 16):
        await asyncio.gather(
            *(app({**SCOPE, "headers": [*HEADERS]}, receive, send) for _ in range(16))
        )
        for one in range(number, number + 16):
            cached[one * 7 % CACHED] = value(one)
    cpu = time.process_time() - cpu
    seen = {
        "requests/s": REQUESTS / cpu,
        "collections": len(pauses),
        "longest ms": max(pauses, default=0) * 1e3,
        "in all ms": sum(pauses) * 1e3,
    }
    gc.collect()
    return seen | {"full one ms": pauses[-1] * 1e3}


def bodies() -> dict[str, float]:
    """Read and write bodies of 50 kB to 1 MB in threads; then nothing is held any more."""
    from servekit.process_memory import rss_bytes

    rows = [{"id": n, "name": f"Product {n}", "text": "x" * 600} for n in range(1_500)]

    def work(number: int) -> int:
        size = 75 + number * 37 % 1_425
        return len(json.loads(json.dumps(rows[:size])))

    before = rss_bytes(os.getpid())
    cpu = time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(BODIES)))
        after = rss_bytes(os.getpid()) - before
    return {"grown MiB": after / 2**20, "bodies/s": BODIES / (time.process_time() - cpu)}


def measured(kind: str, *arguments: str, **environ: str) -> dict[str, float]:
    """Run one variant in a process of its own."""
    command = [sys.executable, "-m", "bench.tuning", kind, *arguments]
    environ = os.environ | environ
    printed = subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True).stdout
    seen: dict[str, float] = json.loads(printed.splitlines()[-1])  # before it stands the log
    return seen


def show(title: str, runs: dict[str, list[dict[str, float]]]) -> None:
    """Print a row of medians for each variant."""
    columns = list(next(iter(runs.values()))[0])
    print(f"{title:32}" + "".join(f"{column:>14}" for column in columns))
    for name, seen in runs.items():
        medians = [statistics.median(one[column] for one in seen) for column in columns]
        print(f"{name:32}" + "".join(f"{value:14,.1f}" for value in medians))
    print()


def main() -> None:
    """Run all variants in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    collector: dict[str, list[dict[str, float]]] = {}
    arenas: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for thresholds, freeze in COLLECTOR:
            name = f"{thresholds}{', frozen' if freeze else ''}"
            seen = measured("requests", thresholds, str(freeze))
            collector.setdefault(name, []).append(seen)
        for environ in ARENAS:
            name = " ".join(f"{key}={value}" for key, value in environ.items()) or "as it is"
            arenas.setdefault(name, []).append(measured("bodies", **environ))
    show("collector", collector)
    show("malloc, 8 threads", arenas)


if __name__ == "__main__":
    if sys.argv[1:2] == ["requests"]:
        print(json.dumps(asyncio.run(requests())))
    elif sys.argv[1:2] == ["bodies"]:
        print(json.dumps(bodies()))
    else:
        main()
