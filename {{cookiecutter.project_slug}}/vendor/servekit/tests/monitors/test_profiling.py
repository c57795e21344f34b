import asyncio
import hashlib
import re
import sys
import threading
import time
from types import FrameType

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from servekit.monitors import stack_sampler, stall_evidence
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.other_threads import OtherThreads
from servekit.monitors.profiling import Profiling
from servekit.testing import patience


def hot(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def work(seconds=0.3):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hot(0.01)
        await asyncio.sleep(0)


async def test_a_profile_shows_what_the_event_loop_computes():
    profile = asyncio.ensure_future(Profiling().commands["profile"]({"seconds": 0.3}))
    await work()
    samples = {"hot": 0, "(idle)": 0, "other": 0}
    for line in (await profile).decode().splitlines():
        stack, _, count = line.rpartition(" ")
        kind = "hot" if "hot (" in stack else "(idle)" if stack == "(idle)" else "other"
        samples[kind] += int(count)
    assert samples["hot"] > samples["other"]
    assert samples["hot"] > 2


async def test_a_collapsed_profile_tells_idle_time_apart():
    text = (await Profiling().profile({"seconds": 0.2, "format": "collapsed"})).decode()
    [idle] = [line for line in text.splitlines() if line.startswith("(idle)")]
    assert int(idle.split()[1]) >= 5


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_loop_that_waits_is_idle_as_a_worker_runs_it_and_with_its_monitor(factory):
    async def profile():
        async with LoopMonitor(registry=CollectorRegistry()):
            return await Profiling().profile({"seconds": 0.5, "format": "collapsed"})

    loop = factory()
    lines = loop.run_until_complete(profile()).decode().splitlines()
    loop.close()
    counts = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}
    assert counts.pop("(idle)") > 5 + sum(counts.values())


async def test_one_profile_at_a_time_and_sane_options_only():
    profiling = Profiling()
    first = asyncio.create_task(profiling.profile({"seconds": 0.05}))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Another profile"):
        await profiling.profile({})
    await first
    for options in ({"seconds": 0}, {"seconds": 1e9}, {"hertz": -1}, {"seconds": "soon"}):
        with pytest.raises(ValueError):  # noqa: PT011 - the option is what is bad
            await profiling.profile(options)
    await profiling.profile({"seconds": 0.01})


async def test_a_cancelled_profile_frees_the_place():
    profiling = Profiling()
    first = asyncio.create_task(profiling.profile({"seconds": 60}))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    assert await profiling.profile({"seconds": 0.01})


async def test_memray_records_what_is_allocated():
    pytest.importorskip("memray")
    recorded = await Profiling().memray({"seconds": 0.05})
    assert b"memray" in recorded[:64]


def test_a_profile_of_ever_new_stacks_is_bounded(monkeypatch):
    monkeypatch.setattr(stack_sampler, "STACKS_MAX", 5)
    sampler = stack_sampler.StackSampler(0)
    root = compile("", "root", "exec")
    for number in range(500):
        leaf = compile(f"x = {number}", "leaf", "exec")
        sampler._count(((root, 0), (root, 0), (root, 0), (leaf, 0)), 1)
    assert len(sampler.stacks) == 6
    assert sampler.stacks.total() == 500


def match_for_long():
    re.match(r"(a+)+$", "a" * 20 + "b")


async def test_a_call_that_keeps_the_interpreter_counts_for_as_long_as_it_took():
    busy = -time.thread_time()
    profile = asyncio.ensure_future(Profiling().profile({"seconds": 1, "format": "collapsed"}))
    await asyncio.sleep(0.1)
    while not profile.done():
        match_for_long()
        await asyncio.sleep(0.1)
    busy += time.thread_time()
    lines = (await profile).decode().splitlines()
    found = sum(int(line.rpartition(" ")[2]) for line in lines if "match_for_long" in line)
    assert found / 100 > 0.6 * busy  # more where the call itself waits for a CPU


def wait():
    time.sleep(0.02)


async def test_the_mode_cpu_counts_no_call_that_waits():
    async def block():
        ends = time.monotonic() + 0.4
        while time.monotonic() < ends:
            wait()
            await asyncio.sleep(0)

    shares = {}
    for mode in ("wall", "cpu"):
        profile = asyncio.ensure_future(
            Profiling().profile({"seconds": 0.4, "mode": mode, "format": "collapsed"})
        )
        await block()
        lines = (await profile).decode().splitlines()
        counts = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}
        shares[mode] = 1 - counts.get("(idle)", 0) / sum(counts.values())
    assert shares["cpu"] < shares["wall"] / 2


def spin(stop):
    while not stop.is_set():
        sum(range(1000))


def hash_on(stop):
    data = bytes(4_000_000)
    while not stop.is_set():
        hashlib.sha256(data)


@pytest.mark.parametrize(("function", "held"), [(spin, True), (hash_on, False)])
async def test_threads_that_hold_the_interpreter_are_told_from_those_that_compute_beside_it(
    function, held
):
    stop = threading.Event()
    thread = threading.Thread(target=function, args=[stop])
    thread.start()
    counts = {"held": 0, "free": 0, "there": 0}
    ends = time.monotonic() + patience(10)
    # On a busy machine a thread seldom has a CPU for half of the time between two samples.
    while counts["held"] + counts["free"] < 15 and time.monotonic() < ends:
        options = {"seconds": 0.5, "format": "collapsed", "around": 1}
        for line in (await Profiling().profile(options)).decode().splitlines():
            for word in ("held", "free"):
                number = int(line.rpartition(" ")[2])
                counts[word] += number * line.startswith(f"(interpreter {word})")
            counts["there"] += f";{function.__name__} (" in line
    stop.set()
    thread.join()

    assert (counts["held"] > counts["free"]) is held, counts
    assert counts["there"] or not held


def computed_before(seconds, ready, stop):
    while time.thread_time() < seconds:
        pass
    ready.set()
    stop.wait()


def test_who_held_the_interpreter_is_known_from_the_first_time_on():
    ready, stop = threading.Event(), threading.Event()
    threads = [threading.Thread(target=computed_before, args=[0.4, ready, stop])]
    threads[0].start()
    ready.wait()
    others = OtherThreads(threading.get_ident(), threading.get_native_id(), 0.01)
    threads.append(threading.Thread(target=spin, args=[stop]))
    threads[1].start()
    time.sleep(patience(0.1))
    names = [code.co_name for code, _ in others._busiest()]
    stop.set()
    for thread in threads:
        thread.join()
    others.close()
    assert "spin" in names


async def test_tasks_are_told_by_where_their_coroutines_begin():
    tasks = [asyncio.create_task(work(0.5)) for _ in range(3)]
    text = (
        await Profiling().profile({"seconds": 0.1, "format": "collapsed", "around": 1})
    ).decode()
    line = work.__code__.co_firstlineno
    assert f"(tasks);work ({__file__}:{line}) 3" in text.splitlines()
    await asyncio.gather(*tasks)


def test_code_in_a_folder_named_asyncio_is_not_the_event_loops(tmp_path):
    files = {str(tmp_path / "asyncio" / "work.py"): False, asyncio.base_events.__file__: True}
    for file, is_loop in files.items():
        frames: list[FrameType] = []
        take = {"take": lambda frames=frames: frames.append(sys._getframe(1))}
        exec(compile("take()", file, "exec"), take)
        assert stall_evidence.of_asyncio(frames[0]) == is_loop
