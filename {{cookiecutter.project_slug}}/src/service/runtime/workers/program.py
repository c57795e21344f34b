"""What a worker runs: an application, its commands and its small numbers."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from service.runtime.draining import Draining

Command = Callable[[dict[str, Any]], Awaitable[bytes]]
Status = Callable[[], dict[str, float | int | None]]


@dataclass(frozen=True, kw_only=True)
class Program:
    """An application, built once in the zygote and run by every worker forked from it.

    Building it must open nothing: no socket, thread, loop or subprocess.
    """

    asgi: ASGIApp
    draining: Draining
    commands: Mapping[str, Command] = field(default_factory=dict)
    """What the supervisor may ask of a worker, by name; `metrics` answers Prometheus text."""
    status: Status = dict
    """Small numbers that go with every heartbeat."""
    enter_worker: Callable[[int], None] = lambda _slot: None
    """Called first in every worker, with its slot number."""
    error_headers: Sequence[tuple[bytes, bytes]] = ()
    """Headers of the answers that the front door gives before the application sees a request."""


def load_program(import_string: str) -> Program:
    """Import `module:function` and call it.

    Raises:
        Exception: Whatever the import or the call raises.
    """
    module, _, name = import_string.partition(":")
    program = getattr(importlib.import_module(module), name)()
    if not isinstance(program, Program):
        raise TypeError(f"{import_string} returned {type(program).__name__}, not a Program")
    return program


def reason_of(error: BaseException) -> str:
    """Return an error in one line, as people read it."""
    text = str(error).strip() or "no message"
    return text if isinstance(error, SystemExit) else f"{type(error).__name__}: {text}"
