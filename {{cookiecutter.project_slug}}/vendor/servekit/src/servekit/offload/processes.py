"""A bounded pool of processes for CPU work, each of which can be killed without the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from prometheus_client import CollectorRegistry

from servekit.context import NotOpen
from servekit.event_log import get_logger
from servekit.logs import log_form
from servekit.offload.calls import pack_call
from servekit.offload.capacity import PoolCapacity
from servekit.offload.errors import OffloadTimeout
from servekit.offload.frames import Startup, pack
from servekit.offload.kill_budget import KillBudget
from servekit.offload.metrics import OffloadMetrics
from servekit.offload.process import OffloadProcess
from servekit.resilience.deadlines import remaining

T = TypeVar("T")
Args = TypeVarTuple("Args")

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 5.0

log = get_logger()


class Processes:
    """Run module-level functions in up to `size` processes, with `queue` callers waiting.

    One process is warm from the start (`preload` names modules it imports, `initializer` is a
    module-level function it calls first); the others start with the first call that needs them.
    A deadline, a cancelled caller or a crash costs one process and one call; where callers leave
    more often than processes should start, their calls go on and keep their place. A process is
    replaced after `recycle_calls` (with 10 % jitter) or above `recycle_rss_bytes`; 0 disables. All
    but one end when they had nothing to do for `idle_seconds`.
    """

    def __init__(  # noqa: PLR0913 - a pool has these properties
        self,
        *,
        registry: CollectorRegistry,
        size: int = 1,
        queue: int = 0,
        timeout_seconds: float = 30,
        recycle_calls: int = 0,
        recycle_rss_bytes: int = 0,
        idle_seconds: float = 60,
        nice: int = 10,
        preload: Sequence[str] = (),
        initializer: Callable[[], object] | None = None,
        pool: str = "processes",
    ) -> None:
        self.size = size
        self._timeout_seconds = timeout_seconds
        self._recycle_calls = recycle_calls
        self._recycle_rss_bytes = recycle_rss_bytes
        self._idle_seconds = idle_seconds
        self._shrinking: asyncio.TimerHandle | None = None
        self._startup = Startup(tuple(preload), initializer, nice)
        pack(self._startup)  # refuses now what cannot be sent
        self._pool = pool
        self._metrics = OffloadMetrics(pool, registry)
        self._capacity = PoolCapacity(
            pool=pool, size=size, queue_limit=queue, metrics=self._metrics
        )
        self._processes: set[OffloadProcess] = set()
        self._kills = KillBudget()
        self._starts: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._rests: set[asyncio.Task[None]] = set()
        self._callers_without_process = 0
        self._open = False

    async def __aenter__(self) -> Self:
        self._idle: asyncio.LifoQueue[OffloadProcess] = asyncio.LifoQueue()
        self._open = True
        self._start_one()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        if self._shrinking is not None:
            self._shrinking.cancel()
        unfinished = self._starts | self._rests
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        ends = [process.end(kill=process.busy) for process in self._processes]
        await asyncio.gather(*ends)
        await asyncio.gather(*self._ends, return_exceptions=True)

    def _framed_startup(self) -> bytes:
        return pack(self._startup._replace(log=log_form()))

    @property
    def busy(self) -> int:
        """Processes that run a call."""
        return self._capacity.busy

    @property
    def waiting(self) -> int:
        """Callers that wait for a process."""
        return self._capacity.waiting

    @property
    def pids(self) -> list[int]:
        """The processes that are alive."""
        return [process.pid for process in self._processes]

    async def run(
        self,
        function: Callable[[*Args], T],
        *args: *Args,
        timeout_seconds: float | None = None,
    ) -> T:
        """Return what `function(*args)` returns in a process, or raise what it raises.

        The function must be importable (module-level), arguments and result picklable: pass ids and
        paths rather than megabytes, as pickling is work for the loop. Raises `TypeError` for a
        lambda or closure, `OffloadRejected` when pool and queue are full, `OffloadTimeout` past
        `timeout_seconds` (the pool's by default) or the request's deadline, waiting included, and
        `OffloadCrashed` if the process dies. A cancelled caller leaves the queue, or its process is
        killed, unless too many were: then the call goes on until its time limit.
        """
        if not self._open:
            raise NotOpen(f"The {self._pool} pool")
        frame = pack_call(function, args)
        limit = remaining(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        if limit <= 0:
            raise self._timed_out(limit)
        try:
            async with asyncio.timeout(limit) as scope:
                await self._capacity.acquire()
                result: T = await self._run(frame, scope)
                return result
        except TimeoutError:
            if not scope.expired():
                raise  # the function's own
            raise self._timed_out(limit) from None

    def _timed_out(self, seconds: float) -> OffloadTimeout:
        self._metrics.timeouts.inc()
        return OffloadTimeout(self._pool, seconds)

    async def _run(self, frame: bytes, limit: asyncio.Timeout) -> Any:
        began = time.monotonic()
        process = None
        try:
            process = await self._take()
            result = await process.call(frame)
        except asyncio.CancelledError:
            if process is None or limit.expired() or not self._open or self._kills.take():
                self._leave(process, began, kill=True)
            else:
                self._go_on(process, began, limit)
            raise
        except BaseException:
            self._leave(process, began)
            raise
        self._leave(process, began)
        return result

    def _go_on(self, process: OffloadProcess, began: float, limit: asyncio.Timeout) -> None:
        """Let a call keep its place and process to its end, though its caller is gone."""

        def ended(rest: asyncio.Task[None]) -> None:
            failed = rest.cancelled() or rest.exception() is not None
            self._leave(process, began, kill=failed)

        self._metrics.unwanted.inc()
        seconds = (limit.when() or began) - time.monotonic()
        self._in_background(process.finish(seconds), self._rests).add_done_callback(ended)

    def _leave(self, process: OffloadProcess | None, began: float, *, kill: bool = False) -> None:
        if process is not None and kill:
            self._end(process, kill=True)
        elif process is not None:
            self._put_back(process)
        self._capacity.release(time.monotonic() - began)

    async def _take(self) -> OffloadProcess:
        self._callers_without_process += 1
        try:
            while True:
                if self._idle.empty() and len(self._starts) < self._callers_without_process:
                    self._start_one()
                process = await self._idle.get()
                if not process.ended:
                    return process
        finally:
            self._callers_without_process -= 1

    def _put_back(self, process: OffloadProcess) -> None:
        if process.ended:
            return
        limit = self._recycle_calls * (1 - process.pid % 11 / 100)  # so that not all go at once
        worn = 0 < limit <= process.calls or 0 < self._recycle_rss_bytes < process.rss_bytes
        if worn:
            self._end(process, kill=False)
        else:
            self._make_idle(process)

    def _make_idle(self, process: OffloadProcess) -> None:
        process.idle_since = time.monotonic()
        self._idle.put_nowait(process)
        if self._shrinking is None and len(self._processes) > 1:
            self._shrink_later()

    def _shrink(self) -> None:
        """End who was idle all the time; the last used is the next taken, so it stays."""
        self._shrinking = None
        idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        since = time.monotonic() - self._idle_seconds
        for process in reversed(idle):
            if process.idle_since <= since and len(self._processes) > 1:
                self._processes.discard(process)
                self._end(process, kill=False)
            else:
                self._idle.put_nowait(process)
        if not self._idle.empty() and len(self._processes) > 1:
            self._shrink_later()

    def _shrink_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._shrinking = loop.call_later(self._idle_seconds, self._shrink)

    # Starting and ending, beside the calls

    def _start_one(self) -> None:
        if self._open and len(self._processes) + len(self._starts) < self.size:
            self._in_background(self._start(), self._starts)

    def _end(self, process: OffloadProcess, *, kill: bool) -> None:
        process.ended = True
        self._in_background(process.end(kill=kill), self._ends)

    @staticmethod
    def _in_background(
        work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _start(self) -> None:
        process = await self._started()
        self._starts -= {asyncio.current_task()}  # now: its place is the process's
        self._processes.add(process)
        self._make_idle(process)

    async def _started(self) -> OffloadProcess:
        """Return a process that is ready, however often it has to be tried."""
        pause = BACKOFF_SECONDS_MIN
        while True:
            try:
                process = await OffloadProcess.start(self._framed_startup(), self._ended)
            except Exception as error:  # noqa: BLE001 - without a process callers would only wait
                reason = str(error)
            else:
                if not process.ended:
                    return process
                await process.end(kill=True)
                reason = "it died as soon as it was ready"
            log.warning("offload_process_start_failed", pool=self._pool, error=reason)
            await asyncio.sleep(pause * random.uniform(1, 1.5))  # noqa: S311 - jitter
            pause = min(2 * pause, BACKOFF_SECONDS_MAX)

    def _ended(self, process: OffloadProcess) -> None:
        if process not in self._processes:
            return  # it never was ready
        self._processes.discard(process)
        if self._open:
            self._metrics.restarts.inc()
            self._end(process, kill=False)
            self._start_one()
