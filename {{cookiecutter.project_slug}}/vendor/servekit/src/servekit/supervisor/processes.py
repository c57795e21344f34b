"""The processes of a service: started, drained and ended as decided, and heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servekit.background import Background
from servekit.edge.connection_counts import ConnectionCounts
from servekit.event_log import get_logger
from servekit.supervisor import events
from servekit.supervisor.children import ChildSpawner, Reaper, ZygoteProcess
from servekit.supervisor.launch import Launcher, SpawnLauncher, StartError, ZygoteLauncher
from servekit.supervisor.program import failure_of
from servekit.supervisor.spare import Spare
from servekit.supervisor.worker_process import CommandError, WorkerProcess

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from servekit.supervisor.program import SupervisorConfig

FORCE_SECONDS = 0.5
CHILDREN_SECONDS = 1.0

log = get_logger()


class Processes:
    """Carries out what is decided about code and workers; `tell` hears what became of them."""

    def __init__(
        self,
        config: SupervisorConfig,
        listeners: list[socket.socket],
        *,
        tell: Callable[[events.Event], None],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        self.reaper = Reaper()
        self.reaper.on_orphan = self._note_exit
        self.config = config
        """What code that is loaded from now on is told."""
        self.log_level = ""
        """What an operator asked for, which workers that start from now on follow."""
        self._listeners = listeners
        self._counts = ConnectionCounts.create()
        self._tell = tell
        self._note = note
        self._spare = Spare(self.reaper)
        self._launchers: dict[int, Launcher] = {}
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._early_exits: dict[int, int] = {}
        """By process, while some are started of which it is not known yet which they are."""
        self._tasks = Background()

    def carry_out(self, action: events.Action) -> None:
        """Begin what an action says; only the two ends of a service are not for processes."""
        match action:
            case events.Load(generation):
                self._launchers[generation] = self._launcher(generation)
                self._loads[generation] = self._tasks.spawn(self._load(generation))
            case events.Prepare() if self.config.start_method == "fork":
                self._spare.prepare(self._spawner())
            case events.Close(generation) if generation in self._launchers:
                self._loads.pop(generation).cancel()
                self._launchers.pop(generation).close()
            case events.Launch():
                self._launch(action)
            case events.Drain():
                self.workers[action.worker].drain(
                    action.reason,
                    accept=action.accept,
                    delay=action.delay,
                    seconds=self.config.limits.drain_seconds,
                    refused=action.reason == "stop" and not self.config.keep_listeners,
                )
            case events.Kill() if action.worker in self.workers:
                self._kill(self.workers[action.worker], action)
            case events.Log():
                self._log(action)

    async def end(self) -> None:
        """End what still lives, a zygote or a worker that was given up."""
        self._spare.close()
        for launcher in self._launchers.values():
            launcher.close()  # first: a start that waits for a zygote's reply hears of it
        await self._tasks.cancel()
        for worker in self.workers.values():
            worker.kill()
        # A zygote holds the sockets too: who starts the service again must find the port free.
        await self.reaper.end_all(CHILDREN_SECONDS)

    # Code

    def _launcher(self, generation: int) -> Launcher:
        spawner = self._spawner()
        if self.config.start_method == "spawn":
            return SpawnLauncher(spawner, self.reaper, on_exit=self._note_exit)
        return ZygoteLauncher(
            lambda: self._spare.take(spawner) or ZygoteProcess.start(spawner, self.reaper),
            start_seconds=self.config.start_seconds,
            on_loaded=self._spare.learn,
            on_exit=self._note_exit,
            on_lost=lambda: self._tell(events.LauncherLost(generation)),
        )

    def _spawner(self) -> ChildSpawner:
        return ChildSpawner(self.config, self._listeners, self._counts)

    async def _load(self, generation: int) -> None:
        try:
            await self._launchers[generation].open()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for the news
            self._tell(events.LoadFailed(generation, *told(error)))
        else:
            self._tell(events.Loaded(generation))

    # Workers

    def _launch(self, action: events.Launch) -> None:
        worker = WorkerProcess(
            action.worker,
            slot=action.slot,
            generation=action.generation,
            tell=self._tell,
            note=self._note,
        )
        self.workers[action.worker] = worker
        worker.exited.add_done_callback(lambda _: self.workers.pop(action.worker))
        self._tasks.spawn(self._start(worker))

    async def _start(self, worker: WorkerProcess) -> None:
        try:
            entry = self._counts.reserve()
            worker.exited.add_done_callback(lambda _: self._counts.release(entry))
            await worker.start(self._launchers[worker.generation], entry, self.log_level)
        except Exception as error:  # noqa: BLE001 - whatever it is, the slot is to be filled
            self._tell(events.StartFailed(worker.number, *told(error)))
            worker.end_without_process()
        if worker.pid in self._early_exits:
            worker.ended(self._early_exits[worker.pid])
        if all(each.pid for each in self.workers.values()):
            self._early_exits.clear()

    def _kill(self, worker: WorkerProcess, action: events.Kill) -> None:
        if action.why:
            self._tasks.spawn(self._log_and_kill(worker, action))
        else:
            worker.kill()

    async def _log_and_kill(self, worker: WorkerProcess, action: events.Kill) -> None:
        """Log what a worker still does, or where it hangs, and kill it."""
        doing: dict[str, object] = {}
        try:
            if action.why == "worker_forced":
                requests = await worker.call("requests", FORCE_SECONDS)
                doing["requests"] = requests.decode().splitlines()
        except CommandError:
            pass
        try:
            if not doing:
                doing["stacks"] = await worker.thread_stacks() or "none: the process is stopped"
            if not worker.exited.done():
                facts = {"worker": worker.slot, "pid": worker.pid}
                log.error(action.why, **facts, **action.facts, **doing)
        finally:
            worker.kill()

    def _log(self, action: events.Log) -> None:
        pids = {
            name: self.workers[number].pid
            for name, number in action.pids.items()
            if number in self.workers
        }
        facts = {name: value for name, value in action.facts.items() if value != ""}
        getattr(log, action.level)(action.event, **facts, **pids)

    def _note_exit(self, pid: int, status: int) -> None:
        for worker in list(self.workers.values()):
            if worker.pid == pid:
                worker.ended(status)
                return
        if not all(each.pid for each in self.workers.values()):
            self._early_exits[pid] = status


def told(error: Exception) -> tuple[str, str]:
    """Return why something failed in one line, and the trace."""
    if isinstance(error, StartError):
        return str(error), error.trace
    return failure_of(error)
