"""Calls that keep the interpreter to themselves, and what looks like them to the watchdog."""

import asyncio
import gc
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from typing import Any

import orjson
import pytest
import uvloop
from prometheus_client import CollectorRegistry
from pydantic import RootModel
from structlog.testing import capture_logs

from servekit.monitors.gc_monitor import GcMonitor
from servekit.monitors.stall_evidence import CpuReading
from servekit.testing import patience
from tests.monitors.test_watchdog import Watched

HELD_SECONDS = 0.15
SIZE_MAX = 50_000_000
TIMES, TRIES = 5, 12
MISSED_MAX = 1
"""Where the watchdog was not run in time it says nothing, or leaves out the line: no guesses."""
FAIR = 1.1
STOPS = 12


class Rows(RootModel[list[dict[str, int]]]):
    pass


def rows(count):
    return [{"id": number} for number in range(count)]


# For each call what it takes of a size, and the size at which it surely takes some time.
CALLS: dict[str, tuple[Any, Any, int]] = {
    "sum": (range, sum, 1_000_000),
    "json": (rows, json.dumps, 20_000),
    "orjson": (rows, orjson.dumps, 100_000),
    "pydantic": (lambda size: Rows(rows(size)), Rows.model_dump_json, 50_000),
    "regular expression": (
        lambda size: "a" * size.bit_length() + "b",
        lambda text: re.match(r"(a+)+$", text),
        1 << 16,
    ),
}


def long_call(name):
    """Return what calls a function that is certainly at work for some time, in one call into C."""
    make, function, size = CALLS[name]
    while size < SIZE_MAX:
        argument = make(size)
        began = time.thread_time()
        function(argument)
        if time.thread_time() - began >= HELD_SECONDS:
            break
        size *= 2
    return lambda: function(argument)


async def records_of_each(call):
    """Return the records of five calls of at most twelve, each with the seconds that it took.

    One may be missed. A machine that has become faster since the call was chosen is not judged.
    """
    found: list[Any] = []
    missed = 0
    async with Watched(quiet_seconds=0):
        for number in range(TRIES):
            await asyncio.sleep(0.03 + number % 5 * 0.007)
            with capture_logs() as logs:
                began, used = time.monotonic(), time.thread_time()
                call()
                wall, cpu = time.monotonic() - began, time.thread_time() - used
                await asyncio.sleep(0.05)
            starved = wall > FAIR * cpu
            located = [(record, wall) for record in logs if record["location"]]
            found += located
            missed += not located and not starved and wall > HELD_SECONDS / 2
            assert missed <= MISSED_MAX
            if len(found) >= TIMES:
                return found
    pytest.skip("the machine is too busy to judge by")


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_into_c_is_found_with_its_line(name, factory):
    call = long_call(name)
    with asyncio.Runner(loop_factory=factory) as runner:
        for record, seconds in runner.run(records_of_each(call)):
            assert "test_held_interpreter.py" in record["location"]
            assert record["cause"] == "cpu"
            assert record["blocked_seconds"] >= max(seconds / 2, record.get("held_seconds", 0))


def of_another_library(phase, info):
    pass


async def test_a_pause_of_the_collector_is_called_by_its_name():
    held: list[list[int]] = [[] for _ in range(1_000_000)]
    gc.callbacks.append(of_another_library)
    async with GcMonitor(registry=CollectorRegistry()):
        for record, _ in await records_of_each(gc.collect):
            assert record["cause"] == "garbage_collection"
            assert "gc_monitor" not in record["location"]
    gc.callbacks.remove(of_another_library)
    del held


@pytest.mark.parametrize(
    ("late", "without_cpu", "used", "blamed"),
    [
        (0.2, 0.0, 0.2, 0.2),
        (0.2, 0.1, 0.1, 0.1),  # in a call, and half the time without a CPU
        (0.4, 0.0, 0.03, 0.0),  # stopped
        (0.4, 0.0, 0.2, 0.0),  # stopped for half the time: not to be told from a wait
        (0.4, 0.4, 0.01, 0.0),  # starved
        (0.2, 0.0, 0.6, 0.2),  # other threads on other cores
    ],
)
def test_only_time_that_was_computed_is_blamed(late, without_cpu, used, blamed):
    before = CpuReading(at=1.0, thread_cpu=5, process_cpu=7, run_queue_wait=2)
    after = CpuReading(
        at=1.01 + late,
        thread_cpu=5 + used,
        process_cpu=7 + used,
        run_queue_wait=2 + without_cpu,
    )
    assert after.computed_since(before, due=1.01) == pytest.approx(blamed)


HEALTHY = """
import asyncio, select, sys, time
from prometheus_client import CollectorRegistry
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.watchdog import Watchdog

registry = CollectorRegistry()

def tell():
    print("stopped:", registry.get_sample_value("process_stopped_seconds_total"), flush=True)

def nobody_asks():
    if select.select([sys.stdin], [], [], 0)[0]:
        if not sys.stdin.readline():
            return True
        tell()
    return False

async def main():
    monitor = LoopMonitor(registry=CollectorRegistry())
    async with monitor, Watchdog(monitor, registry=registry, quiet_seconds=0):
        print("ready", flush=True)
        end = time.monotonic() + 2.5
        while not nobody_asks() or time.monotonic() < end:
            until = time.thread_time() + 0.008 * int(sys.argv[1])
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0.002)
    tell()

asyncio.run(main())
"""


ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"


def healthy(busy, before=""):
    command = [sys.executable, "-c", before + HEALTHY, str(busy)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("busy", [0, 1])
def test_a_process_that_is_stopped_again_and_again_is_not_blocked(busy):
    stopped, said = 0.0, "stopped: 0"
    times = itertools.count(1)
    deadline = time.monotonic() + patience(20)
    with healthy(busy) as process:
        # A stop shorter than a stall, or one that meets a wait for the CPU, does not count.
        while next(times) <= STOPS or not seconds_stopped(said):
            assert time.monotonic() < deadline, said
            began = time.monotonic()
            process.send_signal(signal.SIGSTOP)
            time.sleep(random.uniform(0.06, 0.14))
            process.send_signal(signal.SIGCONT)
            stopped += time.monotonic() - began
            time.sleep(0.05)
            said += asked(process)
        said += process.communicate(timeout=patience(20))[0]
    assert "held_seconds" not in said
    assert 0 < seconds_stopped(said) < stopped * 1.1


def asked(process):
    """Return what a process says until it has said for how long it was stopped."""
    process.stdin.write("?\n")
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("stopped:"):
            break
    return said


def seconds_stopped(said):
    return float(said.rpartition("stopped:")[2])


def test_a_process_that_works_or_waits_was_not_stopped():
    with healthy(1) as process:
        assert seconds_stopped(process.communicate(timeout=patience(20))[0]) < 0.4


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the load is for one core")
def test_a_process_without_a_cpu_is_not_blocked():
    spin = [sys.executable, "-c", f"{ONE_CORE}while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(3)]
    try:
        with healthy(1, ONE_CORE) as process:
            said = process.communicate(timeout=patience(20))[0]
        assert "held_seconds" not in said
        assert seconds_stopped(said) < 0.4
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


async def test_a_call_that_waits_did_not_stop_the_process():
    with capture_logs():
        async with Watched() as watched:
            for _ in range(4):
                time.sleep(0.2)  # noqa: ASYNC251 - the block
                await asyncio.sleep(0.03)
            await asyncio.sleep(0.1)
    stopped = watched.registry.get_sample_value("process_stopped_seconds_total")
    assert stopped < 0.4, stopped  # of 0.8: a busy machine may hold it up for a moment
