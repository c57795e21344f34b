"""Functions of a user that the life of a worker calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def refuse_coroutine(hook: Callable[..., object]) -> None:
    """Refuse a hook that nobody would await."""
    if inspect.iscoroutinefunction(hook):
        name = getattr(hook, "__qualname__", repr(hook))
        raise TypeError(f"{name} is a coroutine function, and hooks are called: write a lifespan.")
