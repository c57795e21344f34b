"""A slot: the place of one worker, kept filled, its number stable across replacements."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from servekit.backoff import Backoff
from servekit.workers.launch import StartError
from servekit.workers.worker_process import CommandError, WorkerProcess

if TYPE_CHECKING:
    from servekit.edge.connection_counts import ConnectionCounts
    from servekit.workers.generations import Generation, Generations
    from servekit.workers.program import SupervisorConfig

STOP_MARGIN_SECONDS = 1.0
FORCE_SECONDS = 0.5
RECYCLE_JITTER = 0.1

log = structlog.get_logger()


class Slot:
    """Keeps one worker running; a replacement is ready before the old one is told to drain."""

    def __init__(
        self,
        number: int,
        config: SupervisorConfig,
        *,
        generations: Generations,
        counts: ConnectionCounts,
    ) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self.in_transition: set[WorkerProcess] = set()
        """Workers of this slot that are still starting, or already draining."""
        self.restarts: Counter[str] = Counter()
        self._config = config
        self._generations = generations
        self._counts = counts
        self._backoff = Backoff()
        self._transition = asyncio.Lock()
        self._closing = False
        self.recycle_requests = 0

    @property
    def workers(self) -> list[WorkerProcess]:
        """Every living process of this slot."""
        return [*([self.worker] if self.worker else []), *self.in_transition]

    async def start(self) -> None:
        """Fill the empty slot.

        Raises:
            StartError: The worker did not become ready.
        """
        async with self._transition:
            if self.worker is None and not self._closing:
                generation = self._generations.current
                assert generation is not None  # noqa: S101 - slots open after the code is loaded
                self.worker = await self._launch(generation)

    async def keep_filled(self) -> None:
        """Refill the slot whenever its worker ends; until cancelled."""
        while True:
            if (worker := self.worker) is None:
                await self._try_to_start()
                continue
            status = await asyncio.shield(worker.exited)
            if self.worker is worker:
                self.worker = None
                self._note_end(worker, status)
                await asyncio.sleep(self._backoff.delay(worker.uptime_seconds))

    async def replace(self, generation: Generation, reason: str) -> None:
        """Start a new worker, and when it is ready drain the old one.

        Raises:
            StartError: The new one did not become ready; the old one keeps serving.
        """
        async with self._transition:
            new = await self._launch(generation)
            old, self.worker = self.worker, new
        if old is None or old.exited.done():
            return
        self.restarts[reason] += 1
        log.info("worker_replaced", worker=self.number, reason=reason, old=old.pid, new=new.pid)
        # Shielded: a reload that overtakes this one must not leave a stuck worker unwatched.
        await asyncio.shield(asyncio.create_task(self._retire(old, reason)))

    async def close(self) -> None:
        """Drain the worker and leave the slot empty: the service shrinks."""
        self._closing = True
        async with self._transition:
            old, self.worker = self.worker, None
        if old is not None:
            await self._retire(old, "scale")

    async def stop(self) -> None:
        """Drain the worker for good: the service ends, and nobody else takes its connections."""
        self._closing = True
        limits = self._config.limits
        for worker in self.workers:
            if worker.state == "starting":
                worker.kill()
            worker.drain(
                "stop", accept=True, delay=limits.drain_delay_seconds, seconds=limits.drain_seconds
            )
        await asyncio.gather(*(self._wait_for_end(worker) for worker in self.workers))

    async def force(self) -> None:
        """Log what the workers still do, or where they hang, and kill them."""
        await asyncio.gather(*(self._force(worker) for worker in self.workers))

    async def _force(self, worker: WorkerProcess) -> None:
        doing: dict[str, object] = {}
        try:
            requests = await worker.call("requests", FORCE_SECONDS)
            doing["requests"] = requests.decode().splitlines()
        except CommandError:
            doing["stacks"] = await worker.thread_stacks()
        if not worker.exited.done():
            log.warning("worker_forced", worker=self.number, pid=worker.pid, **doing)
            worker.kill()

    async def replace_hung(self, worker: WorkerProcess) -> None:
        """Log where a silent worker's threads stand, then kill it; the slot is refilled."""
        worker.state = "hung"
        worker.end_reason = "hang"
        stacks = await worker.thread_stacks()
        log.error(
            "worker_hung",
            worker=self.number,
            pid=worker.pid,
            silent_seconds=round(worker.silent_seconds, 1),
            stacks=stacks or "none: the process is stopped",
        )
        worker.kill()

    async def _try_to_start(self) -> None:
        try:
            await self.start()
        except StartError as error:
            delay = self._backoff.delay(0)
            log.error(  # noqa: TRY400 - the trace is the worker's, not ours
                "worker_start_failed",
                worker=self.number,
                reason=str(error),
                retry_seconds=round(delay, 1),
            )
            self.restarts["start"] += 1
            await asyncio.sleep(delay)

    async def _launch(self, generation: Generation) -> WorkerProcess:
        worker = WorkerProcess(
            slot=self.number, count_entry=self._counts.reserve(), generation=generation
        )
        generation.workers.add(worker)
        self.in_transition.add(worker)
        worker.exited.add_done_callback(lambda _: self._release(worker))
        try:
            await worker.start()
            async with asyncio.timeout(self._config.start_seconds):
                await asyncio.shield(worker.ready)
        except BaseException as error:
            worker.abandon()
            if isinstance(error, TimeoutError):
                seconds = self._config.start_seconds
                raise StartError(f"the worker was not ready within {seconds:g} s") from None
            raise
        self.in_transition.discard(worker)
        jitter = random.uniform(1 - RECYCLE_JITTER, 1 + RECYCLE_JITTER)  # noqa: S311 - spreads load
        self.recycle_requests = int(self._config.recycle_requests * jitter)
        log.info("worker_started", worker=self.number, pid=worker.pid, generation=generation.number)
        return worker

    def _release(self, worker: WorkerProcess) -> None:
        self.in_transition.discard(worker)
        worker.generation.workers.discard(worker)
        self._counts.release(worker.count_entry)
        self._generations.close_unused()

    def _note_end(self, worker: WorkerProcess, status: int | None) -> None:
        reason = worker.end_reason
        self.restarts[reason] += 1
        log.warning(
            "worker_ended",
            worker=self.number,
            pid=worker.pid,
            reason=reason,
            status=status,
            uptime_seconds=round(worker.uptime_seconds, 1),
        )

    async def _retire(self, worker: WorkerProcess, reason: str) -> None:
        self.in_transition.add(worker)
        limits = self._config.limits
        idle = self._config.idle_seconds
        worker.drain(reason, accept=False, delay=idle, seconds=limits.drain_seconds)
        await self._wait_for_end(worker)

    async def _wait_for_end(self, worker: WorkerProcess) -> None:
        limits = self._config.limits
        seconds = limits.stop_seconds + self._config.idle_seconds + STOP_MARGIN_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(worker.exited), seconds)
            return
        log.error("worker_did_not_stop", worker=self.number, pid=worker.pid, seconds=seconds)
        worker.kill()
        await asyncio.shield(worker.exited)
