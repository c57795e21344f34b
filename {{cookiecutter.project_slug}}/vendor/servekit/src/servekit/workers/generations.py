"""Generations of code: each has its launcher, and ends with its last worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servekit.workers.launchers import Boot, Launcher, SpawnLauncher, ZygoteLauncher

if TYPE_CHECKING:
    import socket

    from servekit.edge.board import Board
    from servekit.workers.options import SupervisorConfig
    from servekit.workers.reaper import Reaper
    from servekit.workers.worker_process import WorkerProcess


@dataclass(eq=False)
class Generation:
    """The code as it was when it was loaded, and the workers that run it."""

    number: int
    launcher: Launcher
    workers: set[WorkerProcess] = field(default_factory=set)


class Generations:
    """Loads code, remembers who runs which, and lets go of what nobody runs any more."""

    def __init__(
        self,
        config: SupervisorConfig,
        *,
        listeners: list[socket.socket],
        board: Board,
        reaper: Reaper,
    ) -> None:
        self._config = config
        self._boot = Boot(config, listeners, board)
        self._reaper = reaper
        reaper.on_orphan = self._ended
        self._known: list[Generation] = []
        self._count = 0
        self.current: Generation | None = None

    async def load(self) -> Generation:
        """Load the code as it is now; `current` stays what it was.

        Raises:
            StartError: It cannot be loaded.
        """
        self._count += 1
        generation = Generation(self._count, self._launcher())
        try:
            await generation.launcher.open()
        except BaseException:
            generation.launcher.close()
            raise
        self._known.append(generation)
        return generation

    def tidy(self) -> None:
        """End the launchers of code that is neither current nor run by any worker."""
        for generation in list(self._known):
            if generation is not self.current and not generation.workers:
                generation.launcher.close()
                self._known.remove(generation)

    def close(self) -> None:
        """End every launcher; workers that still live are given a moment, then killed."""
        for generation in self._known:
            generation.launcher.close()

    def _launcher(self) -> Launcher:
        if self._config.start_method == "spawn":
            return SpawnLauncher(self._boot, self._reaper, on_exit=self._ended)
        return ZygoteLauncher(
            self._boot,
            self._reaper,
            start_seconds=self._config.start_seconds,
            on_exit=self._ended,
        )

    def _ended(self, pid: int, status: int) -> None:
        for generation in self._known:
            for worker in list(generation.workers):
                if worker.pid == pid:
                    worker.ended(status)
                    return
