"""Threads of `def` routes and dependencies: a place is held until its thread has ended."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self

import anyio.to_thread
from anyio import CapacityLimiter, WouldBlock
from prometheus_client import CollectorRegistry

from servekit.event_log import get_logger
from servekit.hang_up import end_request, ends_request
from servekit.offload.errors import OffloadRejected
from servekit.offload.metrics import OffloadMetrics
from servekit.offload.thread_start import tell_no_thread

POOL = "routes"

log = get_logger()

run_in_thread = anyio.to_thread.run_sync


class RouteThreads:
    """Have anyio's threads keep their place, for as long as this is open.

    anyio waits for a thread when its own scopes are cancelled. Requests are cancelled as tasks, and
    then it gives the place back while the thread runs on: a deadline made 223 threads out of 40.
    """

    metrics: OffloadMetrics | None = None
    _open = 0

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._metrics = OffloadMetrics(POOL, registry) if registry else None

    async def __aenter__(self) -> Self:
        # The one function through which Starlette's and FastAPI's calls go, looked up each time.
        anyio.to_thread.run_sync = run_holding  # type: ignore[assignment] # it takes the same
        RouteThreads._open += 1
        RouteThreads.metrics = self._metrics
        return self

    async def __aexit__(self, *_: object) -> None:
        RouteThreads._open -= 1
        if not RouteThreads._open:
            anyio.to_thread.run_sync = run_in_thread
            RouteThreads.metrics = None


async def run_holding(
    func: Callable[..., Any],
    *args: Any,
    abandon_on_cancel: bool = False,
    cancellable: bool | None = None,
    limiter: CapacityLimiter | None = None,
) -> Any:
    """Run a function in a thread, as `anyio.to_thread.run_sync` does.

    A request that ends early is told when its thread has ended, with what that raised or returned:
    nothing that the thread uses is closed under it, and what it took can be given back. The request
    ends at its next wait then, before a further thread begins, unless it gives back what it took.
    Who is cancelled otherwise goes on at once. Where the system allows no further thread it raises
    `OffloadRejected`.
    """
    if abandon_on_cancel or cancellable is not None:
        given = {} if cancellable is None else {"cancellable": cancellable}
        return await run_in_thread(
            func, *args, abandon_on_cancel=abandon_on_cancel, limiter=limiter, **given
        )
    limiter = limiter or anyio.to_thread.current_default_thread_limiter()
    call = Call(func, args)
    await take_place(limiter, call)
    try:
        return await run_in_thread(call, limiter=unlimited())
    except asyncio.CancelledError as error:
        if ends_request(error):
            await call.wait()
            if call.error is not None:
                raise call.error from None
            if call.returned:
                end_later(error.args[0])
                return call.value
        raise
    except RuntimeError as error:
        if call.begun:
            raise  # the function's own
        tell_no_thread(POOL, error)
        if RouteThreads.metrics is not None:
            RouteThreads.metrics.rejected.inc()
        raise OffloadRejected(POOL, random.uniform(1, 2), f"{POOL}: {error}") from error  # noqa: S311 - jitter
    finally:
        call.leave(limiter)


def end_later(reason: str) -> None:
    """Have this task's cancellation, which was caught, arrive at its next wait."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
        task.get_loop().call_soon(end_request, task, reason)


async def take_place(limiter: CapacityLimiter, call: Call) -> None:
    """Wait for a place, and count how long."""
    metrics = RouteThreads.metrics
    try:
        limiter.acquire_on_behalf_of_nowait(call)
    except WouldBlock:
        began = time.monotonic()
        try:
            with metrics.queue_size.track_inprogress() if metrics else contextlib.nullcontext():
                await limiter.acquire_on_behalf_of(call)
        finally:
            if metrics is not None:
                metrics.queue_wait.observe(time.monotonic() - began)
    else:
        if metrics is not None:
            metrics.queue_wait.observe(0.0)


@lru_cache
def unlimited() -> CapacityLimiter:
    """Return what stands in for the limiter whose place the call has already."""
    return CapacityLimiter(math.inf)


class Call:
    """A function in a thread, and whoever wants to know that it has ended."""

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.error: BaseException | None = None
        self.begun = False
        self.returned = False
        self.value: Any = None
        self._func = func
        self._args = args
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._running = False
        self._left = False
        self._on_end: Callable[[], None] | None = None

    def __call__(self) -> Any:
        with self._lock:
            if self._left:
                return None
            self._running = self.begun = True
        began = time.monotonic()
        try:
            self.value = self._func(*self._args)
            self.returned = True
        except BaseException as error:
            self.error = error
            raise
        finally:
            if RouteThreads.metrics is not None:
                RouteThreads.metrics.run.observe(time.monotonic() - began)
            with self._lock:
                self._running = False
                on_end = self._on_end
            if on_end is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(on_end)
        return self.value

    async def wait(self) -> None:
        """Wait until the thread has ended."""
        ended = asyncio.Event()
        with self._lock:
            if not self._running:
                return
            self._on_end = ended.set
        await ended.wait()

    def leave(self, limiter: CapacityLimiter) -> None:
        """Give the place back: now, or when the thread has ended."""

        def release() -> None:
            limiter.release_on_behalf_of(self)
            if self.error is not None:
                log.error("abandoned_thread_failed", exc_info=self.error)

        with self._lock:
            self._left = True
            if self._running:
                self._on_end = release
                return
        limiter.release_on_behalf_of(self)
