"""How much time the current request has left, for every call that it makes."""

from __future__ import annotations

from contextvars import ContextVar, Token
from time import monotonic

_deadline: ContextVar[float | None] = ContextVar("request_deadline", default=None)


def remaining(default: float) -> float:
    """Return the seconds left for the current request, at most `default`; never below zero.

    Outside a request, or without a deadline, that is `default`.
    """
    deadline = _deadline.get()
    if deadline is None:
        return default
    return max(0.0, min(default, deadline - monotonic()))


def set_deadline(seconds: float | None) -> Token[float | None]:
    """Start the clock of the current context; None: no deadline. `reset_deadline` undoes it."""
    return _deadline.set(None if seconds is None else monotonic() + seconds)


def reset_deadline(token: Token[float | None]) -> None:
    """Restore what held before `set_deadline`; call it in the same context."""
    _deadline.reset(token)
