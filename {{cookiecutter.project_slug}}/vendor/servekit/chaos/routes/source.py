"""What caches stand before: a slow source that counts its loads, as files of the run."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path


class SourceDownError(Exception):
    """The source cannot answer."""


class Source:
    """Values as files in `folder`: all processes of a case see one source.

    A key that was never written has the value `new`. Loads take `seconds`, fail while the source is
    down, and are noted with their time.
    """

    def __init__(self, folder: Path, *, seconds: float = 0) -> None:
        self.folder = folder
        self._values = folder / "source"
        self._values.mkdir(exist_ok=True)
        self._loads = folder / "loads"
        self._down = folder / "source-down"
        self._seconds = seconds

    @classmethod
    def of_environment(cls) -> Source:
        """Return the source of a service that a case has started: its own, or another's."""
        seconds = float(os.environ.get("CHAOS_LOAD_SECONDS", "0"))
        folder = os.environ.get("CHAOS_SOURCE", os.environ["CHAOS_FOLDER"])
        return cls(Path(folder), seconds=seconds)

    async def load(self, key: str) -> str | None:
        """Return the value of a key, None if it was written as absent."""
        with self._loads.open("a") as file:  # one write: processes do not mix their lines
            file.write(f"{time.time()} {key}\n")
        value = self.read(key)
        await asyncio.sleep(self._seconds)
        if self._down.exists():
            raise SourceDownError
        return value

    def read(self, key: str) -> str | None:
        """Return what `load` returns, at once and uncounted."""
        try:
            return (self._values / key).read_text() or None
        except FileNotFoundError:
            return "new"

    def write(self, key: str, value: str | None) -> None:
        """Set the value of a key; None makes it absent."""
        file = self._values / key
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(value or "")
        part.replace(file)

    def set_down(self, down: bool) -> None:
        """Make every load fail, or not."""
        self._down.touch() if down else self._down.unlink(missing_ok=True)

    def loads(self, key: str = "") -> int:
        """Return how often a key was loaded; of all keys without one."""
        if not self._loads.exists():
            return 0
        lines = self._loads.read_text().splitlines()
        return sum(not key or line.split(" ", 1)[1] == key for line in lines)
