"""A bounded pool of threads for calls that block, apart from FastAPI's own 40."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from prometheus_client import CollectorRegistry

from servekit.context import NotOpen
from servekit.event_log import get_logger
from servekit.offload.capacity import PoolCapacity
from servekit.offload.errors import OffloadError, OffloadTimeout
from servekit.offload.metrics import OffloadMetrics
from servekit.offload.thread_start import tell_no_thread
from servekit.resilience.deadlines import remaining

T = TypeVar("T")
Args = TypeVarTuple("Args")

CLOSE_SECONDS = 0.5

log = get_logger()


class Threads:
    """Run blocking functions in `size` threads, with `queue` callers waiting (0: half the pool).

    A call past its deadline is abandoned: the caller goes on, the thread cannot be stopped and
    keeps its place until it ends. Context variables are carried over.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        size: int = 16,
        queue: int = 0,
        timeout_seconds: float = 30,
        pool: str = "threads",
    ) -> None:
        self.size = size
        self._timeout_seconds = timeout_seconds
        self._pool = pool
        self._metrics = OffloadMetrics(pool, registry)
        self._capacity = PoolCapacity(
            pool=pool, size=size, queue_limit=queue, metrics=self._metrics
        )
        self._threads: list[threading.Thread] = []
        self._open = False

    async def __aenter__(self) -> Self:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        for _ in self._threads:
            self._calls.put(None)
        # Only abandoned calls still run here; as daemons their threads do not hold up the exit.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(thread.is_alive() for thread in self._threads):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.001)
        self._threads.clear()

    @property
    def busy(self) -> int:
        """Threads that run a call, abandoned ones included."""
        return self._capacity.busy

    @property
    def waiting(self) -> int:
        """Callers that wait for a thread."""
        return self._capacity.waiting

    async def run(
        self,
        function: Callable[[*Args], T],
        *args: *Args,
        timeout_seconds: float | None = None,
    ) -> T:
        """Return what `function(*args)` returns in a thread.

        Raises `OffloadRejected` when pool and queue are full or the system allows no thread, and
        `OffloadTimeout` past `timeout_seconds` (the pool's by default) or the request's deadline,
        waiting included. A cancelled caller leaves the queue, or abandons the running call.
        """
        if not self._open:
            raise NotOpen(f"The {self._pool} pool")
        limit = remaining(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        if limit <= 0:
            raise self._timed_out(limit)
        try:
            async with asyncio.timeout(limit) as scope:
                await self._capacity.acquire()
                result: T = await self._start(function, args)
                return result
        except TimeoutError:
            if not scope.expired():
                raise  # the function's own
            raise self._timed_out(limit) from None

    def _timed_out(self, seconds: float) -> OffloadTimeout:
        self._metrics.timeouts.inc()
        return OffloadTimeout(self._pool, seconds)

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        call = _Call(function, args, loop, loop.create_future(), self._capacity.release)
        if len(self._threads) < min(self.size, self._capacity.busy):
            self._add_thread()
        self._calls.put(call)
        return call.future

    def _add_thread(self) -> None:
        name = f"{self._pool}-{len(self._threads)}"
        thread = threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # as many as the system allows are there
            self._capacity.give_back()
            tell_no_thread(self._pool, error)
            raise self._capacity.refusal(f"{self._pool}: {error}") from error
        self._threads.append(thread)


class _Call:
    """One call on its way through a thread and back."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        release: Callable[[float], None],
    ) -> None:
        self.future = future
        self._function = function
        self._args = args
        self._loop = loop
        self._release = release
        self._context = contextvars.copy_context()

    def run(self) -> None:
        started = time.monotonic()
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._context.run(self._function, *self._args)
        except BaseException as raised:  # noqa: BLE001 - it belongs to the caller, not to the thread
            error = raised
        if isinstance(error, StopIteration) or not isinstance(error, Exception | None):
            # A future cannot carry the first; SystemExit and its like would end the event loop.
            substitute = OffloadError(f"The function raised {type(error).__name__}.")
            substitute.__cause__ = error
            error = substitute
        seconds = time.monotonic() - started
        with contextlib.suppress(RuntimeError):  # the loop is closed, the call long abandoned
            self._loop.call_soon_threadsafe(
                self._end, result, error, seconds, context=self._context
            )

    def _end(self, result: Any, error: BaseException | None, seconds: float) -> None:
        self._release(seconds)
        if self.future.done():  # abandoned
            if error is not None:
                log.error("abandoned_thread_failed", exc_info=error)
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def _work(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # holds the arguments until the next one otherwise
