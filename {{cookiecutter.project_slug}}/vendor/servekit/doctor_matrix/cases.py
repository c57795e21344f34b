"""What is injected, by whom, under which load, and what the doctor has to say of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servekit.diagnosis.stacks import Frame

if TYPE_CHECKING:
    from fastapi import FastAPI

    from doctor_matrix.service import Running
    from servekit import Service

Install = Callable[["FastAPI", "Service"], None]
Before = Callable[[], contextlib.AbstractContextManager[dict[str, str]]]
During = Callable[["Running"], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def nothing_before() -> Iterator[dict[str, str]]:
    """Start nothing, and add no setting."""
    yield {}


@contextlib.contextmanager
def nothing_during(_running: Running) -> Iterator[None]:
    """Do nothing to the running service."""
    yield


@dataclass(frozen=True)
class Case:
    """An application with one fault, or a `twin` that only looks like it."""

    cause: str
    install: Install
    twin: bool = False
    guilty: Callable[..., Any] | None = None
    """The function whose place the verdict has to tell."""
    rate: float = 10
    """Requests a second for `/`."""
    settings: dict[str, object] = field(default_factory=dict)
    before: Before = nothing_before
    during: During = nothing_during
    allowed: frozenset[str] = frozenset()
    """Other causes that are as true."""
    slow_log: bool = False

    @property
    def name(self) -> str:
        """How it is asked for, and how the application is told."""
        return f"{self.cause}.twin" if self.twin else self.cause

    @property
    def place(self) -> str:
        """Return what the first place of a verdict begins with, nothing if any will do."""
        if self.guilty is None:
            return ""
        code = self.guilty.__code__
        frame = Frame(code.co_qualname, code.co_filename, 0)
        return f"{frame.name} {frame.place}".removesuffix("0")

    def is_at(self, place: str) -> bool:
        """Tell whether a place, or a function on the way there, is a guilty function's line."""
        if self.guilty is None:
            return True
        lines = self.guilty.__code__.co_lines()
        wanted = {f"{self.place}{line}" for _, _, line in lines}
        steps = (" ".join(step.split()[:2]).rstrip(",") for step in place.split(" -> "))
        return any(step in wanted for step in steps)


CASES: dict[str, Case] = {}


def fault(cause: str, **options: Any) -> Callable[[Install], Install]:
    """Register an application that ails from one cause."""
    return registered(cause, twin=False, **options)


def twin(cause: str, **options: Any) -> Callable[[Install], Install]:
    """Register the one that looks like it and is well."""
    return registered(cause, twin=True, **options)


def registered(cause: str, **options: Any) -> Callable[[Install], Install]:
    """Register a case with its options."""

    def register(install: Install) -> Install:
        case = Case(cause, install, **options)
        CASES[case.name] = case
        return install

    return register
