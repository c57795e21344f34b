"""Reload when a source file changes: for development."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from servekit.workers.background import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path


@contextlib.asynccontextmanager
async def watch_code(folders: Iterable[Path], changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` whenever a Python file below a folder does, while the block runs."""
    # Not a dependency of production's supervisor: it comes with uvicorn[standard] for development.
    from watchfiles import PythonFilter, awatch

    async def watch() -> None:
        async for _ in awatch(*folders, watch_filter=PythonFilter(), stop_event=stop):
            changed()

    stop = asyncio.Event()
    async with running(watch):
        yield
        stop.set()
