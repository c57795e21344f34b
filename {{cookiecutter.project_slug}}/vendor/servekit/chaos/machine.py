"""What the machine gives: how fast it computes beside the reference, and who else uses it."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

REFERENCE_MS = 4.0
"""What `work` takes where the limits of times are meant as they stand."""
SCALES = (0.5, 10.0)
"""By how much limits are changed at most: scheduling and timers are no faster on a fast machine."""
OTHERS_MAX = 0.25
"""CPUs that others may use for times to be judged: half of one of the load's."""
SLOWER_MAX = 1.3
"""How many times slower than at first it may compute, before and after a case."""
LATE_MS_MAX = 5.0
"""How late a timer may be on the machine at rest."""
MARK = "CHAOS_RUN"
TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def work() -> int:
    """Compute for a while, as services do: small objects, texts, dictionaries."""
    found = {}
    for number in range(20_000):
        found[f"key {number % 500}"] = [number, str(number)]
    return len(found)


def slowness(rounds: int = 15) -> float:
    """Return how many times longer this machine computes than the reference."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took) * 1e3 / REFERENCE_MS


def timer_lateness_ms(seconds: float = 1.0) -> float:
    """Return by how much a timer of 1 ms is late, of a hundred the second worst."""
    late, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        time.sleep(0.001)
        late.append(time.perf_counter() - began - 0.001)
    return statistics.quantiles(late, n=100)[98] * 1e3


class Others:
    """Adds up the CPU time of processes that are not ours, and what the host took away.

    Ours are this one and those that it started, also where a parent between has ended: they have
    inherited a mark in their environment.
    """

    def __init__(self) -> None:
        os.environ[MARK] = str(os.getpid())
        self._mark = f"{MARK}={os.getpid()}".encode()
        self.begin()

    def begin(self) -> None:
        """Measure from now on."""
        self._began = time.monotonic()
        self._before = self.foreign()
        self._stolen = _stolen_seconds()

    def cpus(self) -> float:
        """Return how many CPUs they have used since."""
        now = self.foreign()
        used = sum(max(0.0, cpu - self._before.get(pid, 0.0)) for pid, cpu in now.items())
        seconds = max(time.monotonic() - self._began, 1e-3)
        return (used + _stolen_seconds() - self._stolen) / seconds

    def foreign(self) -> dict[int, float]:
        """Return the CPU seconds of foreign processes; ended ones are lost, which is little."""
        found = _cpu_by_process()
        parents = {pid: parent for pid, (parent, _) in found.items()}
        return {pid: cpu for pid, (_, cpu) in found.items() if not self._is_ours(pid, parents)}

    def _is_ours(self, pid: int, parents: dict[int, int]) -> bool:
        return _descends(pid, os.getpid(), parents) or self._mark in _environment(pid)


@dataclass(frozen=True)
class Machine:
    """What was seen of it at rest."""

    slowness: float
    late_ms: float
    others: float

    @classmethod
    def look(cls, others: Others) -> Machine:
        """Measure for about a second, before anything is started."""
        others.begin()
        late = timer_lateness_ms()
        return cls(slowness(), late, others.cpus())

    @property
    def scale(self) -> float:
        """What limits of times are multiplied by, and those of rates divided by."""
        least, most = SCALES
        return min(max(self.slowness, least), most)

    def slowed(self) -> str:
        """Return that the machine is slower than it was, if so: the limits are those of before."""
        factor = slowness() / self.slowness
        return f"it computes {factor:.1f} times slower than at first" if factor > SLOWER_MAX else ""

    @property
    def is_noisy(self) -> bool:
        """Whether times cannot be judged here at all."""
        return self.late_ms > LATE_MS_MAX or self.others > OTHERS_MAX

    def __str__(self) -> str:
        noise = "too noisy to judge by times" if self.is_noisy else "quiet"
        return (
            f"machine: {self.slowness:.2f} times the reference's time for one computation, "
            f"a timer is {self.late_ms:.1f} ms late, others use {self.others:.2f} CPUs: {noise}"
        )


def _cpu_by_process() -> dict[int, tuple[int, float]]:
    """Return parent and CPU seconds of each process that can be seen."""
    found = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                cpu = (int(fields[11]) + int(fields[12])) / TICKS
                found[int(entry.name)] = int(fields[1]), cpu
    return found


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    """Tell whether a process is another one, or comes of it by parents that are alive."""
    while pid != ancestor and pid in parents:
        pid = parents[pid]
    return pid == ancestor


def _environment(pid: int) -> list[bytes]:
    """Return the variables that a process was started with; none where they are not to be seen."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _stolen_seconds() -> float:
    """Return the time in which the host gave the CPUs to others."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((PROC / "stat").read_text().split(maxsplit=9)[8]) / TICKS
    return 0.0
