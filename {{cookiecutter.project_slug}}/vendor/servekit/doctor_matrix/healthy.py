"""Services that are well, looked at in every way: what the doctor says of them is a false alarm."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from doctor_matrix.service import started
from doctor_matrix.surroundings import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

RATES = {"none": 0.0, "half": 40.0, "full": 120.0}
LOOPS = ("uvloop", "asyncio")
BESIDE = ("quiet", "hogs")
CONFIDENT = 3.0
"""None in n runs means fewer than 3/n, with 95 % confidence."""


def run_healthy(count: int, seconds: float) -> int:
    """Have a healthy service examined so often, and return how often a cause was named.

    What the host does is none: it is said, and true.
    """
    ways = itertools.cycle(itertools.product(LOOPS, BESIDE, RATES))
    alarms, hosts = 0, 0
    for number, (loop, beside, load) in enumerate(itertools.islice(ways, count), 1):
        with (
            redis() as given,
            started({**given, "LOOP": loop}, slow_log=False) as running,
            hogs() if beside == "hogs" else contextlib.nullcontext(),
        ):
            seen = running.examine("/", RATES[load], seconds)
        named = Counter(verdict["cause"] for verdict in seen["verdicts"])
        host = named.keys() & {"cpu_starvation", "cpu_quota", "steal", "stopped"}
        alarms += bool(named.keys() - host)
        hosts += bool(host)
        print(
            f"healthy {number:3} {loop:8} {beside:6} {load:5} {', '.join(named) or '-'}", flush=True
        )
    print(
        f"{alarms} false alarms in {count} healthy runs"
        + ("" if alarms else f": fewer than {min(1.0, CONFIDENT / count):.0%}")
        + f"; the host was named in {hosts}"
    )
    return alarms


@contextlib.contextmanager
def hogs(count: int = 2) -> Iterator[None]:
    """Have processes compute beside the service."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
