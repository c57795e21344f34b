"""A missed time on a machine that others use is no verdict; whatever else is missed is one."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

import chaos.machine
import chaos.report
from chaos.__main__ import run_all
from chaos.machine import MARK, Machine, Others
from chaos.report import Case, Result, at_most, exactly, fast, lines, soon, timed
from chaos.targets import service
from servekit.testing import patience

NEVER = "others used 1.50 CPUs meanwhile"
LATE, SLOW, LOST = soon("p99", 20, 10), fast("a second", 10, 20), exactly("lost", 1, 0)
GOOD = at_most("lost", 0, 0)


def verdict(*figures, noise="", error=""):
    async def run(_target):
        return []

    return Result(Case(1, "a case", run), list(figures), error=error, noise=noise)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (verdict(GOOD), "passed"),
        (verdict(GOOD, noise=NEVER), "passed"),
        (verdict(GOOD, LATE), "failed"),
        (verdict(GOOD, LATE, SLOW, noise=NEVER), "cannot judge"),
        (verdict(timed(at_most("times", 3, 2)), noise=NEVER), "cannot judge"),
        (verdict(LATE, LOST, noise=NEVER), "failed"),
        (verdict(GOOD, noise=NEVER, error="Traceback"), "failed"),
        (verdict(noise=NEVER), "failed"),
        (verdict(soon("p99", float("nan"), 10)), "failed"),
    ],
)
def test_only_times_are_excused_and_only_by_others(result, expected):
    assert result.verdict == result.as_json()["verdict"] == expected
    assert (NEVER in "\n".join(lines(result))) == (expected == "cannot judge")


@pytest.mark.parametrize(("scale", "passed"), [(1.0, False), (2.0, True), (0.5, False)])
def test_limits_of_times_and_rates_follow_the_machine(monkeypatch, scale, passed):
    monkeypatch.setattr(chaos.report, "scale", scale)
    assert soon("p99", 20, 10).passed is passed
    assert fast("a second", 10, 20).passed is passed


START = """
import subprocess, sys
spinning = [sys.executable, "-c", "while True: pass"]
print(subprocess.Popen(spinning, stdout=subprocess.DEVNULL).pid)
"""


@contextlib.contextmanager
def orphan():
    """Run what computes for ever, and whose parent has ended."""
    started = subprocess.run([sys.executable, "-c", START], stdout=subprocess.PIPE, check=True)
    pid = int(started.stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_what_this_process_started_does_not_count_and_all_else_does(monkeypatch):
    monkeypatch.setenv(MARK, "another run")
    with orphan() as foreign:
        others = Others()
        child = subprocess.Popen(["sleep", "60"], env={})
        with child, orphan() as ours:
            seen = others.foreign()
            child.kill()
        assert foreign in seen
        assert not {ours, child.pid, os.getpid()} & seen.keys()
        ends = time.monotonic() + patience(20)
        while others.cpus() < 0.05:  # its share of the CPUs
            assert time.monotonic() < ends


def test_a_machine_that_computes_slower_than_at_first_is_no_measure(monkeypatch):
    machine = Machine(1.0, 0.3, 0.01)
    for slowness, noise in ((1.0, ""), (1.2, ""), (2.0, "it computes 2.0 times slower")):
        monkeypatch.setattr(chaos.machine, "slowness", lambda found=slowness: found)
        assert machine.slowed().startswith(noise)
        assert bool(machine.slowed()) == bool(noise)


async def test_a_case_that_looks_at_the_run_of_another_has_its_noise(monkeypatch):
    async def missed(_target):
        return [LATE]

    noises = iter(["it was slow", "", "", "", "", ""])
    monkeypatch.setattr(Machine, "slowed", lambda _: next(noises))
    monkeypatch.setattr(Others, "cpus", lambda _: 0.0)
    monkeypatch.setattr(Machine, "look", lambda _: Machine(1.0, 0.3, 0.01))
    monkeypatch.setattr(chaos.report, "scale", 1.0)
    cases = [Case(1, "a", missed), Case(2, "b", missed, looks_at=1), Case(3, "c", missed)]
    results = await run_all(cases, service(), None)
    assert [one.verdict for one in results] == ["cannot judge", "cannot judge", "failed"]


def test_a_machine_says_what_it_is():
    quiet, busy = Machine(1.2, 0.3, 0.01), Machine(1.2, 0.3, 0.8)
    assert not quiet.is_noisy
    assert "quiet" in str(quiet)
    assert busy.is_noisy
    assert Machine(1, 9, 0).is_noisy
    assert "too noisy" in str(busy)
    assert (Machine(0.1, 0, 0).scale, Machine(99, 0, 0).scale) == (0.5, 10)
