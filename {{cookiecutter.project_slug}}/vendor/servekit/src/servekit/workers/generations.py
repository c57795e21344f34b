"""Generations of code: each has its launcher, and ends with its last worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from servekit.workers.launch import ChildSpawner, Launcher, SpawnLauncher, ZygoteLauncher

if TYPE_CHECKING:
    import socket

    from servekit.edge.connection_counts import ConnectionCounts
    from servekit.workers.launch import Reaper
    from servekit.workers.program import SupervisorConfig


class RunningWorker(Protocol):
    """What a generation knows of a worker that runs its code."""

    pid: int

    def ended(self, status: int | None) -> None:
        """Take note of the end of its process."""


@dataclass(eq=False)
class Generation:
    """The code as it was when it was loaded, and the workers that run it."""

    number: int
    launcher: Launcher
    workers: set[RunningWorker] = field(default_factory=set)


class Generations:
    """Loads code, remembers who runs which, and closes what nobody runs any more."""

    def __init__(
        self,
        config: SupervisorConfig,
        *,
        listeners: list[socket.socket],
        counts: ConnectionCounts,
        reaper: Reaper,
    ) -> None:
        self._config = config
        self._spawner = ChildSpawner(config, listeners, counts)
        self._reaper = reaper
        reaper.on_orphan = self._ended
        self._generations: list[Generation] = []
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
        self._generations.append(generation)
        return generation

    def close_unused(self) -> None:
        """End the launchers of code that is neither current nor run by any worker."""
        for generation in list(self._generations):
            if generation is not self.current and not generation.workers:
                generation.launcher.close()
                self._generations.remove(generation)

    def close(self) -> None:
        """End every launcher; workers that still live are given a moment, then killed."""
        for generation in self._generations:
            generation.launcher.close()

    def _launcher(self) -> Launcher:
        if self._config.start_method == "spawn":
            return SpawnLauncher(self._spawner, self._reaper, on_exit=self._ended)
        return ZygoteLauncher(
            self._spawner,
            self._reaper,
            start_seconds=self._config.start_seconds,
            on_exit=self._ended,
        )

    def _ended(self, pid: int, status: int) -> None:
        for generation in self._generations:
            for worker in list(generation.workers):
                if worker.pid == pid:
                    worker.ended(status)
                    return
