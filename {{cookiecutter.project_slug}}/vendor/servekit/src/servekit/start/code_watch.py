"""Reload when a source file changes: for development."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from servekit.background import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

SETTLE_MS = 200
"""Stillness after which a save counts as done."""


@contextlib.asynccontextmanager
async def watch_code(folders: Iterable[Path], changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` whenever a Python file below a folder does, while the block runs.

    An editor that empties, writes and renames to save a file once makes one change of it.
    """
    # Not a dependency of production's supervisor: it comes with uvicorn[standard] for development.
    from watchfiles import PythonFilter, awatch

    async def watch() -> None:
        async for changes in awatch(
            *folders, watch_filter=PythonFilter(), step=SETTLE_MS, stop_event=stop
        ):
            for _, path in changes:
                forget_compiled(path)
            changed()

    stop = asyncio.Event()
    async with running(watch):
        yield
        stop.set()


def forget_compiled(source: str) -> None:
    """Remove what was compiled of a source file.

    It counts as that of any source of its size and of the same second: of a second save too.
    """
    with contextlib.suppress(OSError, NotImplementedError):  # absent, or caches are off
        Path(importlib.util.cache_from_source(source)).unlink()


def code_folders(import_strings: tuple[str, ...]) -> list[Path]:
    """Return the folders of the packages that import strings name, without importing them."""
    packages = {name.partition(":")[0].partition(".")[0] for name in import_strings}
    specs = [importlib.util.find_spec(package) for package in sorted(packages)]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]
