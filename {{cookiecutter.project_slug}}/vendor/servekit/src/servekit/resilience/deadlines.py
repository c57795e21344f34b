"""How much time the current request has left, for every call that it makes."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from math import inf
from time import monotonic


class Deadline:
    """The moment by which a request should have begun its answer; zero seconds means never."""

    __slots__ = ("at", "began")

    def __init__(self, seconds: float) -> None:
        self.began = monotonic()
        self.at = self.began + seconds if seconds else inf

    def set(self, seconds: float) -> None:
        """Allow `seconds` counted from the beginning of the request; zero switches it off."""
        self.at = self.began + seconds if seconds else inf

    def lift(self) -> None:
        """End the time limit: the answer has begun."""
        self.at = inf


current_deadline: ContextVar[Deadline | None] = ContextVar("current_deadline", default=None)


def remaining(default: float) -> float:
    """Return the seconds left for the current request, at most `default`; never below zero.

    Outside a request, without a deadline, and once the answer has begun, that is `default`.
    """
    deadline = current_deadline.get()
    return default if deadline is None else max(0.0, min(default, deadline.at - monotonic()))


def without_deadline() -> Context:
    """Return a copy of the context without the deadline, for a task that is not this request's own.

    Such is work that other requests wait for too, and writes that must end once they have begun.
    """
    context = copy_context()
    context.run(current_deadline.set, None)
    return context
