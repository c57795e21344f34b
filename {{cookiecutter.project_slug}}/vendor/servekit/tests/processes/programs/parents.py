"""Starts processes of its own, when it is loaded and when it is asked, and says what it started."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from servekit.offload.processes import Processes
from servekit.supervisor.program import Program
from tests.processes.programs import echo

if "WITHOUT_UVLOOP" in os.environ:
    sys.modules["uvloop"] = None  # type: ignore[assignment] # then its import fails

CONTEXT: Any = multiprocessing.get_context(os.environ.get("CHILDREN", "fork"))
PATIENCE = 30


def execute_sleeper():
    """Start a program that does not keep the service's output open when it stays behind."""
    return subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fork_sleeper():
    """Start a process that runs Python, and wait until it does."""
    runs = CONTEXT.Event()
    sleeper = CONTEXT.Process(target=sleep, args=(runs,))
    sleeper.start()
    runs.wait(PATIENCE)
    return sleeper


def sleep(runs):
    runs.set()
    time.sleep(60)


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def started_early():
    """Start what lives for the whole of a generation of code."""
    return {"early executed": execute_sleeper().pid, "early forked": fork_sleeper().pid}


def held():
    """Return what a program has open that Python executes by no module of its own."""
    with tempfile.NamedTemporaryFile() as file:
        os.system(f"ls -l /proc/self/fd > {file.name}")
        return Path(file.name).read_text()


async def held_by_all():
    async with Processes(registry=CollectorRegistry()) as processes:
        return HELD | {"worker": held(), "offload": await processes.run(held)}


EARLY: dict[str, int] = {}
HELD: dict[str, str] = {}
KEPT: dict[str, object] = {}


def kept():
    """Return processes that are never told to end: of pools, of a manager, and deaf ones."""
    if not KEPT:
        executor, pool = ProcessPoolExecutor(2, mp_context=CONTEXT), CONTEXT.Pool(2)
        stubborn = CONTEXT.Process(target=deaf)
        stubborn.start()
        manager = CONTEXT.Manager()
        KEPT.update(executor=executor, pool=pool, manager=manager, stubborn=stubborn)
        list(executor.map(abs, range(4)))
    return [
        child.pid for child in multiprocessing.active_children() if child.pid not in EARLY.values()
    ]


def terminated():
    """Return the exit code of a process that is told to end before it has begun."""
    child = CONTEXT.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(PATIENCE)
    return child.exitcode


def pooled():
    with CONTEXT.Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def broken() -> list[bool]:
    """Return whether an executor ended its other processes when one of them died."""
    with ProcessPoolExecutor(2, mp_context=CONTEXT) as executor:
        asked: list[Future[object]] = [
            executor.submit(time.sleep, 60),
            executor.submit(os._exit, 3),
        ]
        return [isinstance(one.exception(PATIENCE), BrokenExecutor) for one in asked]


def sent(name):
    """Return how a program ended that got a signal."""
    with execute_sleeper() as program:
        program.send_signal(signal.Signals[name])
        return program.wait(PATIENCE)


async def masks():
    """Return what each process does with signals, the worker and the one it is forked from too."""
    forked, executed = fork_sleeper(), execute_sleeper()
    by_the_loop = await asyncio.create_subprocess_exec("sleep", "60")
    async with Processes(registry=CollectorRegistry()) as processes:
        pids = EARLY | {
            "worker": os.getpid(),
            "zygote": os.getppid(),
            "forked": forked.pid,
            "executed": executed.pid,
            "executed by the loop": by_the_loop.pid,
            "offload": await processes.run(os.getpid),
            "executed by offload": await processes.run(execute),
            "forked by offload": await processes.run(fork),
        }
        found = {name: mask(pid) for name, pid in pids.items()}
    for one in (forked, executed, by_the_loop):
        one.kill()
    return found


def execute():
    return execute_sleeper().pid


def fork():
    return fork_sleeper().pid


def mask(pid):
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {name: int(status[f"Sig{name}"], 16) for name in ("Ign", "Cgt", "Blk")}


async def content(action, argument):
    match action:
        case "pids":
            return EARLY
        case "masks" | "held_by_all":
            return await globals()[action]()
        case "detached":
            return execute_sleeper().pid
        case "terminated" | "pooled" | "broken" | "kept":
            return await asyncio.to_thread(globals()[action])
        case "sent":
            return await asyncio.to_thread(sent, argument)
    return os.getpid()


class Parents(echo.Echo):
    async def http(self, scope, receive, send):
        action, _, argument = scope["path"].removeprefix("/").partition("/")
        await self.answer(send, json.dumps(await content(action, argument)).encode())


def program() -> Program:
    if "EARLY" in os.environ:
        EARLY.update(started_early())
        HELD["import"] = held()
    parents = Parents()
    return Program(asgi=parents, draining=parents.draining)
