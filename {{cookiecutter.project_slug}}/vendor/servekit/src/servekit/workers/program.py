"""What a worker runs: an application, its commands and its small numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servekit.import_string import find

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from servekit.draining import Draining

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
    begin_drain: Callable[[str], None] = lambda _reason: None
    """Called when a worker begins to drain, with why."""
    leave_worker: Callable[[], None] = lambda: None
    """Called last in every worker, after the application's shutdown."""
    error_headers: Sequence[tuple[bytes, bytes]] = ()
    """Headers of the answers that the front door gives before the application sees a request."""


def load_program(import_string: str, arguments: Sequence[str] = ()) -> Program:
    """Import `module:function` and call it with the arguments.

    Raises:
        Exception: Whatever the import or the call raises.
    """
    program = find(import_string)(*arguments)
    if not isinstance(program, Program):
        raise TypeError(f"{import_string} returned {type(program).__name__}, not a Program")
    return program


def reason_of(error: BaseException) -> str:
    """Return an error in one line, as people read it."""
    text = str(error).strip() or "no message"
    return text if isinstance(error, SystemExit) else f"{type(error).__name__}: {text}"
