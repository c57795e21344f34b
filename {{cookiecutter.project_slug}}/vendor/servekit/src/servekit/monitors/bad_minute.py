"""A profile of the bad minute, kept as a file: nobody is there to ask for one at that time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from servekit.event_log import get_logger
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.stack_sampler import StackSampler

LAG_SECONDS = 0.05
UTILIZATION = 0.95
BAD_SECONDS = 2.0
"""One long call is the watchdog's, and over before it could be sampled."""
LATELY_SECONDS = 0.5
PROFILE_SECONDS = 10.0
QUIET_SECONDS = 300.0
ENDING = ".collapsed"

log = get_logger()


class BadMinute:
    """Profile the loop for 10 s once it was late, or busy, for 2 s; at most once in 5 minutes.

    The last `files` profiles of all workers stay in `folder`; 0 takes none. Where no file can be
    written that is logged once, and nothing is sampled any more.
    """

    def __init__(self, monitor: LoopMonitor, *, folder: Callable[[], Path], files: int) -> None:
        self._monitor = monitor
        self._folder = folder
        self._files = files
        self._bad_since = 0.0
        self._quiet_until = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        if self._files > 0:
            self._stopped.clear()
            self._monitor.listeners.append(self.sample)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.sample in self._monitor.listeners:
            self._monitor.listeners.remove(self.sample)
        self._stopped.set()
        while self._thread is not None and self._thread.is_alive():  # noqa: ASYNC110 - see Watchdog
            await asyncio.sleep(0.001)

    def sample(self, now: float) -> None:
        """Begin a profile if it is time; the monitor calls it ten times a second."""
        monitor = self._monitor
        # The lag is smoothed: after one long call it stays high, though no tick is late any more.
        late = monitor.lag_seconds >= LAG_SECONDS and now - monitor.last_late_tick < LATELY_SECONDS
        if not late and monitor.utilization < UTILIZATION:
            self._bad_since = 0.0
        elif not self._bad_since:
            self._bad_since = now
        elif now - self._bad_since >= BAD_SECONDS and now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            seen = {"lag_seconds": monitor.lag_seconds, "utilization": monitor.utilization}
            self._thread = threading.Thread(
                target=self._keep, args=[seen], name="bad-minute", daemon=True
            )
            self._thread.start()

    def _keep(self, seen: dict[str, float]) -> None:
        try:
            folder = self._folder()
            prepare(folder)
            sampler = StackSampler(self._monitor.thread_id, loop_frame=self._monitor.loop_frame)
            sampler.start()
            self._stopped.wait(PROFILE_SECONDS)
            sampler.stop()
            file = write(folder, sampler.collapsed())
            keep_newest(folder, self._files, file)
        except (OSError, ValueError) as error:
            self._quiet_until = float("inf")
            log.warning("profile_not_kept", reason=str(error))
        else:
            told = {name: round(value, 3) for name, value in seen.items()}
            log.warning("profile_kept", file=str(file), **told)


def prepare(folder: Path) -> None:
    """Make a folder that is this user's own; in a shared one another may have made it before.

    Raises:
        OSError: It cannot be made or written to, or is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid() or not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to, or is another user's")


def keep_newest(folder: Path, count: int, newest: Path) -> None:
    """Remove what is more than so many profiles; the clock may have gone back since the others."""
    others = [file for file in folder.glob(f"*{ENDING}") if file != newest]
    others.sort(key=written_at)
    for old in others[: max(0, len(others) + 1 - count)]:
        old.unlink(missing_ok=True)


def written_at(file: Path) -> float:
    """Return when a file was written; another worker may have removed it."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def write(folder: Path, collapsed: str) -> Path:
    """Write a profile, whole or not at all, and return its file."""
    worker = os.environ.get("WORKER_SLOT", "0")
    file = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-worker{worker}-{os.getpid()}{ENDING}"
    new = file.with_suffix(".new")
    try:
        new.write_text(collapsed, encoding="utf-8")
        return new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise
