"""The process that waits for the next code: a reload begins with its imports done."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from servekit.supervisor.children import ZygoteProcess

if TYPE_CHECKING:
    from servekit.supervisor.children import ChildSpawner, Reaper


class Spare:
    """At most one such process; without it a zygote is started as usual, only later."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._process: ZygoteProcess | None = None
        self._modules = ["servekit"]

    def learn(self, modules: list[str]) -> None:
        """Take note of the library's modules that the code of now uses: the next will use them."""
        self._modules = modules

    def prepare(self, spawner: ChildSpawner) -> None:
        """Start one, unless one waits; a zygote tells why none can be started, not this."""
        if self._process is not None and not self._process.exited.done():
            return
        self.close()
        with contextlib.suppress(OSError):
            self._process = ZygoteProcess.start(spawner, self._reaper, self._modules)

    def take(self, spawner: ChildSpawner) -> ZygoteProcess | None:
        """Make a zygote of it, told what one is told now; None where there is none that lives."""
        process = self._process
        if process is None or process.exited.done():
            return None
        boot = spawner.boot(control=process.fd).encode()
        try:
            process.control.sendall(boot + b"\n")
        except OSError:
            return None  # it is dying
        self._process = None
        return process

    def close(self) -> None:
        """End it: it has nothing to lose."""
        if self._process is not None:
            self._process.kill()
            self._process.control.close()
            self._process = None
