"""Which tasks hold something that others wait for: who lends it tells, diagnosis asks."""

from __future__ import annotations

import asyncio
from typing import Any

_held: dict[asyncio.Task[Any], list[str]] = {}


def lend(what: str) -> asyncio.Task[Any] | None:
    """Remember that the running task holds one more of `what`; returns whom `give_back` needs."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
    if task is not None:
        _held.setdefault(task, []).append(what)
    return task


def give_back(what: str, task: asyncio.Task[Any] | None) -> None:
    """Remember that a task holds one less, whoever returns it."""
    if task is not None and (held := _held.get(task)) is not None:
        held.remove(what)
        if not held:
            del _held[task]


def holdings(task: asyncio.Task[Any]) -> set[str]:
    """Return what a task holds."""
    return set(_held.get(task, ()))
