"""Which tasks hold something that others wait for: who lends it tells, diagnosis asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Loan = tuple[asyncio.Task[Any], str]

_held: dict[asyncio.Task[Any], list[str]] = {}
_watchers = 0


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Have it noted meanwhile where what is lent was taken: that takes longer than the rest."""
    global _watchers  # noqa: PLW0603 - of the process, as the loans are
    _watchers += 1
    try:
        yield
    finally:
        _watchers -= 1


def lend(what: str, taken_at: Callable[[], str]) -> Loan | None:
    """Remember that the running task holds one more of `what`; returns what `give_back` needs.

    `taken_at` tells `function file:line`, or nothing, while somebody watches.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
    if task is None:
        return None
    if _watchers and (place := taken_at()):
        what = f"{what} taken at {place}"
    _held.setdefault(task, []).append(what)
    return task, what


def give_back(loan: Loan | None) -> None:
    """Remember that a task holds one less, whoever returns it."""
    if loan is None:
        return
    task, what = loan
    if (held := _held.get(task)) is not None:
        held.remove(what)
        if not held:
            del _held[task]


def holdings(task: asyncio.Task[Any]) -> set[str]:
    """Return what a task holds, and where it took it if that is known."""
    return set(_held.get(task, ()))
