"""The process that runs no application code: it owns the sockets, the signals and the workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from servekit.background import Background
from servekit.edge.limits import raise_descriptor_limit
from servekit.edge.sockets import close
from servekit.event_log import get_logger
from servekit.supervisor import events
from servekit.supervisor.children import adopt_orphans
from servekit.supervisor.decisions import Decisions
from servekit.supervisor.health import HealthChecks
from servekit.supervisor.processes import Processes
from servekit.supervisor.program import reason_of
from servekit.supervisor.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from servekit.supervisor.program import SupervisorConfig
    from servekit.supervisor.roster import Slot
    from servekit.supervisor.worker_process import WorkerProcess

LAST_ACCEPT_SECONDS = 0.15

log = get_logger()


class Supervisor:
    """Tells `Decisions` what happens, and has `Processes` carry out what follows.

    `on_event` is called with the name of each decision that is logged, `on_note` with what a worker
    wants operators to see.
    """

    def __init__(  # noqa: PLR0913 - each is a hook of its own
        self,
        config: SupervisorConfig,
        listeners: list[socket.socket],
        *,
        extra_services: Callable[[Supervisor], AbstractAsyncContextManager[object]] | None = None,
        on_start: Callable[[], None] = lambda: None,
        on_event: Callable[[str], None] = lambda _: None,
        on_note: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.config = config
        self._listeners = listeners
        self._extra_services = extra_services
        self._on_start = on_start
        self._on_event = on_event
        self._decisions = Decisions(config)
        self._processes = Processes(config, listeners, tell=self.tell, note=on_note)
        self._tasks = Background()
        self._terminal = Terminal()
        self._events: deque[events.Event] = deque()
        self._deciding = False
        self._refusal = ""
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> int:
        """Serve until told to stop, and return the exit code."""
        adopt_orphans()
        raise_descriptor_limit()
        self._loop = asyncio.get_running_loop()
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        self._handle_signals()
        self._tasks.keep(self._terminal.watch)
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._extra_services is not None:
                    await stack.enter_async_context(self._extra_services(self))
                self.tell(events.TimePassed())
                return await self._exit_code
        finally:
            await self._end()

    def tell(self, event: events.Event) -> None:
        """Decide what follows from an event and do it, before the next one."""
        self._events.append(event)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._events:
                happened = self._events.popleft()
                for action in self._decisions.handle(happened, self._loop.time()):
                    try:
                        self._carry_out(action)
                    except Exception:  # what comes behind it is wanted all the same
                        log.exception("action_failed", action=type(action).__name__)
        finally:
            self._deciding = False
            self._wake_later()

    def _carry_out(self, action: events.Action) -> None:
        match action:
            case events.Load(generation) if not self._renew_config():
                self.tell(events.LoadFailed(generation, self._refusal))
            case events.Announce():
                checks = HealthChecks(lambda: self.config, self.serving, tell=self.tell)
                self._tasks.keep(checks.run)
                self._on_start()
            case events.End(code):
                self._exit_code.set_result(code)
            case _:
                self._processes.carry_out(action)
                if isinstance(action, events.Log):
                    self._on_event(action.event)

    def _renew_config(self) -> bool:
        """Read the configuration anew for new code; the first code has been given its own."""
        if self.config.renewed is None or self._decisions.rollout.current is None:
            return True
        before = self.config
        try:
            self.config = self.config.renewed()
        except Exception as error:  # noqa: BLE001 - whatever it is, the old one goes on
            self._refusal = reason_of(error)
            return False
        self._decisions.configure(self.config)
        self._processes.config = self.config
        if self.config.workers != before.workers:
            self.scale(self.config.workers)
        return True

    def _wake_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self._decisions.wake_at) is not None:
            # The loop's timers may come a little early.
            self._timer = self._loop.call_at(at + 0.001, self.tell, events.TimePassed())

    # What others may know

    @property
    def stopping(self) -> bool:
        """Whether the service is about to end."""
        return self._decisions.stopping_since is not None

    @property
    def slots(self) -> list[Slot]:
        """The slots that are to be filled, by number."""
        return self._decisions.roster.wanted

    @property
    def restarts(self) -> dict[int, dict[str, int]]:
        """Replacements by reason, of every slot that there ever was."""
        return {slot.number: slot.restarts for slot in self._decisions.roster.slots.values()}

    def serving(self) -> dict[int, WorkerProcess]:
        """Return the worker that serves, by slot."""
        return {
            worker.slot: self._processes.workers[worker.number]
            for worker in self._decisions.roster.workers.values()
            if worker.state == "ready" and worker.number in self._processes.workers
        }

    def living(self) -> list[tuple[str, WorkerProcess]]:
        """Return every worker process with its state: starting, ready, draining or ending."""
        states = self._decisions.roster.workers
        return [
            (states[number].state if number in states else "ending", worker)
            for number, worker in self._processes.workers.items()
        ]

    @property
    def reload_state(self) -> dict[str, Any]:
        """Which code runs, which was asked for, and what failed last; see `Rollout.state`."""
        return self._decisions.rollout.state

    def set_log_level(self, level: str) -> None:
        """Have every worker, and those that come after it, write events of this level and above."""
        self._processes.log_level = level
        for worker in self._processes.workers.values():
            worker.set_log_level(level)

    # Signals

    def _handle_signals(self) -> None:
        loop = self._loop
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._note_hangup)
        loop.add_signal_handler(signal.SIGTTIN, self.grow)
        loop.add_signal_handler(signal.SIGTTOU, self.shrink)
        loop.add_signal_handler(signal.SIGUSR1, self.dump_stacks)
        loop.add_signal_handler(signal.SIGCHLD, self._processes.reaper.reap)

    def _note_hangup(self) -> None:
        if self._terminal.is_closing:
            log.info("terminal_closed")
            self.stop()
        else:
            self.reload()

    def stop(self) -> None:
        """Drain everything and end; a second call after some seconds does not wait."""
        if not (self.stopping or self.config.keep_listeners):
            self._tasks.spawn(self._refuse_late_connections())
        self.tell(events.StopAsked())

    def reload(self) -> None:
        """Load the code anew and replace worker by worker; retried until it works."""
        self.tell(events.ReloadAsked())

    def grow(self) -> None:
        """Add a worker."""
        self.scale(len(self.slots) + 1)

    def shrink(self) -> None:
        """Drain the last worker, unless it is the only one."""
        self.scale(len(self.slots) - 1)

    def scale(self, count: int) -> None:
        """Have this many workers; those with the highest numbers go first."""
        self.tell(events.ScaleAsked(count))

    def dump_stacks(self) -> None:
        """Log where every thread of every worker stands."""
        for _, worker in self.living():
            self._tasks.spawn(dump_stacks(worker))

    # End

    async def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.cancel()
        for listener in self._listeners:
            listener.close() if self.config.keep_listeners else close(listener)
        await self._processes.end()

    async def _refuse_late_connections(self) -> None:
        """Let nobody wait who is not waiting yet, and refuse them all once workers took who was.

        Whoever comes in between asks again after a second, as TCP does, and is refused then.
        """
        await asyncio.sleep(self.config.limits.drain_delay_seconds)
        for listener in self._listeners:
            listener.listen(0)
        await asyncio.sleep(LAST_ACCEPT_SECONDS)
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


async def dump_stacks(worker: WorkerProcess) -> None:
    """Log where every thread of a worker stands."""
    stacks = await worker.thread_stacks()
    log.info("worker_stacks", worker=worker.slot, pid=worker.pid, stacks=stacks)
