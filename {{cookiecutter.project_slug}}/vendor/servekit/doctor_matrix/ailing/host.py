"""What the host does to any service."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from doctor_matrix.ailing.loop import answer_well, burn
from doctor_matrix.cases import fault, twin
from doctor_matrix.surroundings import CannotInjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from doctor_matrix.service import Running
    from servekit import Service


GROUPS = Path("/sys/fs/cgroup")
CGROUP = "MATRIX_CGROUP"
"""The variable that tells a service which cgroup to enter when it starts."""
PERIOD_SECONDS = 0.9


@contextlib.contextmanager
def stopped_for(running: Running, seconds: float) -> Iterator[None]:
    """Stop the workers again and again for some time."""
    end = threading.Event()

    def stop_and_go() -> None:
        while not end.is_set():
            for number, wait in ((signal.SIGSTOP, seconds), (signal.SIGCONT, PERIOD_SECONDS)):
                for pid in running.worker_pids:
                    os.kill(pid, number)
                time.sleep(wait if number == signal.SIGSTOP else PERIOD_SECONDS - seconds)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@fault("stopped", during=lambda running: stopped_for(running, 0.3), rate=20)
def stopped(app: FastAPI, _service: Service) -> None:
    answer_well(app)


@twin("stopped", during=lambda running: stopped_for(running, 0.01), rate=20)
def hardly_stopped(app: FastAPI, _service: Service) -> None:
    answer_well(app)


@contextlib.contextmanager
def hogs(running: Running, *, nice: int = 0, count: int = 4) -> Iterator[None]:
    """Have processes compute on the one CPU that the workers may use from now on."""
    cpu = min(os.sched_getaffinity(0))
    for pid in running.worker_pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cpu})
    program = f"import os; os.sched_setaffinity(0, {{{cpu}}}); os.nice({nice})\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@fault("cpu_starvation", during=hogs, rate=15, settings={"WORKERS": 1})
def cpu_starvation(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        burn(0.01)


@twin("cpu_starvation", during=lambda running: hogs(running, nice=19), rate=15)
def polite_hogs(app: FastAPI, _service: Service) -> None:
    answer_well(app)


@contextlib.contextmanager
def own_cgroup() -> Iterator[dict[str, str]]:
    """Have the service start in a cgroup of its own, without a limit yet."""
    root = GROUPS / "cpu" if (GROUPS / "cpu").exists() else GROUPS
    folder = root / f"doctor-matrix-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise CannotInjectError("needs to be root, and a cgroup that it may write to") from error
    try:
        yield {CGROUP: str(folder)}
    finally:
        until = time.monotonic() + 5
        while (folder / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.05)
        folder.rmdir()


@contextlib.contextmanager
def quota(running: Running, *, share: float) -> Iterator[None]:
    """Let the service have a share of a CPU in every 0.1 s."""
    folder = Path(running.settings[CGROUP])
    former = folder / "cpu.cfs_quota_us"
    limit = former if former.exists() else folder / "cpu.max"
    if not limit.exists():
        raise CannotInjectError("the cpu controller is not given to this cgroup")
    limit.write_text(str(round(share * 100_000)) + " 100000" * (limit != former))
    try:
        yield
    finally:
        limit.write_text("-1" if limit == former else "max 100000")


@fault(
    "cpu_quota",
    before=own_cgroup,
    during=lambda running: quota(running, share=0.2),
    rate=20,
    settings={"WORKERS": 1},
)
def cpu_quota(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        burn(0.01)


@twin(
    "cpu_quota",
    before=own_cgroup,
    during=lambda running: quota(running, share=0.9),
    rate=5,
    settings={"WORKERS": 1},
)
def quota_that_nobody_feels(app: FastAPI, _service: Service) -> None:
    answer_well(app)
