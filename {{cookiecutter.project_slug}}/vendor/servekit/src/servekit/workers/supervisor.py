"""The process that runs no application code: it owns the sockets, the signals and the workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Any

import structlog

from servekit.edge.connection_counts import ConnectionCounts
from servekit.edge.limits import raise_descriptor_limit
from servekit.edge.sockets import close
from servekit.workers.generations import Generations
from servekit.workers.health import HealthChecks
from servekit.workers.launch import Reaper, StartError, adopt_orphans
from servekit.workers.rollout import Rollout
from servekit.workers.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from servekit.workers.program import SupervisorConfig

CHILDREN_SECONDS = 1.0

log = structlog.get_logger()


class Supervisor:
    """Starts workers, keeps them running, replaces and drains them, and ends last."""

    def __init__(
        self,
        config: SupervisorConfig,
        listeners: list[socket.socket],
        *,
        extra_services: Callable[[Supervisor], AbstractAsyncContextManager[object]] | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.slots: list[Slot] = []
        self.stopping = False
        self._removed_slots: list[Slot] = []
        self._listeners = listeners
        self._companion = extra_services
        self._on_start = on_start
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeping_filled: dict[Slot, asyncio.Task[None]] = {}
        self._reload: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve until told to stop, and return the exit code."""
        adopt_orphans()
        raise_descriptor_limit()
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._reaper = Reaper()
        self._counts = ConnectionCounts.create()
        self._generations = Generations(
            self.config, listeners=self._listeners, counts=self._counts, reaper=self._reaper
        )
        self._rollout = Rollout(self.slots, self._generations)
        self._handle_signals()
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._companion is not None:
                    await stack.enter_async_context(self._companion(self))
                return await self._serve()
        finally:
            self._generations.close()
            for listener in self._listeners:
                close(listener)
            # A zygote holds the sockets too: who starts the service again must find the port free.
            await self._reaper.end_all(CHILDREN_SECONDS)

    async def _serve(self) -> int:
        start = asyncio.create_task(self._start())
        stop = asyncio.create_task(wait_for(self._stop))
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
        elif error := start.exception():
            return self._refuse_to_start(error)
        else:
            self._spawn(self._health_checks().run())
            self._on_start()
            await stop
        return await self._end()

    # Start

    async def _start(self) -> None:
        """Load the code and fill every slot; one ready worker is enough to go on."""
        self._generations.current = await self._generations.load()
        self.slots += [self._new_slot(number) for number in range(self.config.workers)]
        results = await asyncio.gather(
            *(slot.start() for slot in self.slots), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if len(failures) == len(results):
            raise failures[0]
        for slot in self.slots:
            self._keep_filled(slot)

    def _refuse_to_start(self, error: BaseException) -> int:
        trace = error.trace if isinstance(error, StartError) else ""
        log.critical("start_failed", reason=str(error), trace=trace)
        return 1

    def _health_checks(self) -> HealthChecks:
        recycle = self._rollout.recycle
        return HealthChecks(self.config, self.slots, spawn=self._spawn, recycle=recycle)

    def _new_slot(self, number: int) -> Slot:
        return Slot(number, self.config, generations=self._generations, counts=self._counts)

    def _keep_filled(self, slot: Slot) -> None:
        self._keeping_filled[slot] = asyncio.create_task(slot.keep_filled())

    # Signals

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        loop.add_signal_handler(signal.SIGTTIN, self.grow)
        loop.add_signal_handler(signal.SIGTTOU, self.shrink)
        loop.add_signal_handler(signal.SIGUSR1, self.dump_stacks)
        loop.add_signal_handler(signal.SIGCHLD, self._reaper.reap)

    def stop(self) -> None:
        """Drain everything and end; the second call does not wait."""
        if self.stopping:
            self._force.set()
        self.stopping = True
        self._stop.set()

    def reload(self) -> None:
        """Load the code anew and replace worker by worker; retried until it works."""
        if self.stopping:
            return
        if self._reload is not None:
            self._reload.cancel()
        log.info("reload_begins")
        self._reload = self._spawn(self._rollout.run())

    def grow(self) -> None:
        """Add a worker."""
        self.scale(len(self.slots) + 1)

    def shrink(self) -> None:
        """Drain the last worker, unless it is the only one."""
        self.scale(max(1, len(self.slots) - 1))

    def scale(self, count: int) -> None:
        """Have this many workers; those with the highest numbers go first."""
        if self.stopping or not self.slots:
            return
        log.info("scaled", before=len(self.slots), after=count)
        while len(self.slots) < count:
            slot = self._new_slot(len(self.slots))
            self.slots.append(slot)
            self._keep_filled(slot)
        while len(self.slots) > count:
            slot = self.slots.pop()
            self._keeping_filled.pop(slot).cancel()
            self._removed_slots = [*filter(has_workers, self._removed_slots), slot]
            self._spawn(slot.close())

    @property
    def all_slots(self) -> list[Slot]:
        """The slots, and those given up whose workers still drain."""
        return [*self.slots, *filter(has_workers, self._removed_slots)]

    def dump_stacks(self) -> None:
        """Log where every thread of every worker stands."""
        for slot in self.all_slots:
            self._spawn(self._dump_stacks(slot))

    async def _dump_stacks(self, slot: Slot) -> None:
        for worker in slot.workers:
            stacks = await worker.thread_stacks()
            log.info("worker_stacks", worker=slot.number, pid=worker.pid, stacks=stacks)

    # End

    async def _end(self) -> int:
        log.info("stop_begins", workers=len(self.slots))
        for task in [*self._keeping_filled.values(), *self._tasks]:
            task.cancel()
        drained = asyncio.create_task(self._drain_all())
        refuse = asyncio.create_task(self._refuse_late_connections())
        force = asyncio.create_task(wait_for(self._force))
        await asyncio.wait([drained, force], return_when=asyncio.FIRST_COMPLETED)
        refuse.cancel()
        if drained.done():
            log.info("stopped")
            return 0
        await asyncio.gather(*(slot.force() for slot in self.all_slots))
        return 1

    async def _drain_all(self) -> None:
        await asyncio.gather(*(slot.stop() for slot in self.all_slots))

    async def _refuse_late_connections(self) -> None:
        """Refuse what comes after the last worker stopped accepting, rather than let it wait."""
        await asyncio.sleep(self.config.limits.drain_delay_seconds + 0.25)
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside everything else; what it raises is logged."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("supervisor_task_failed", exc_info=error)


def has_workers(slot: Slot) -> bool:
    """Whether a process of this slot still lives."""
    return bool(slot.workers)


async def wait_for(event: asyncio.Event) -> None:
    """Wait for an event, as a task without a value."""
    await event.wait()
