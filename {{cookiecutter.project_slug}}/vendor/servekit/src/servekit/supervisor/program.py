"""What a worker runs, what the supervisor is told, and what each new worker is told."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from servekit.edge.instant import Instant, NeverInstant
from servekit.edge.limits import ConnectionLimits
from servekit.import_string import find
from servekit.own_code import place_of_error
from servekit.supervisor.channel import encode

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from servekit.draining import Draining

Command = Callable[[dict[str, Any]], Awaitable[bytes]]
Headers = Sequence[tuple[bytes, bytes]]
Status = Callable[[], dict[str, float | int | None]]

REASON_CHARACTERS_MAX = 2**16
TRACE_CHARACTERS_MAX = 2**18


@dataclass(frozen=True, kw_only=True)
class Program:
    """An application, built once in the zygote and run by every worker forked from it.

    Building it must open nothing: no socket, thread, loop or subprocess. A connection is refused.
    """

    asgi: ASGIApp
    draining: Draining
    commands: Mapping[str, Command] = field(default_factory=dict)
    """What the supervisor may ask of a worker, by name; `metrics` answers Prometheus text."""
    status: Status = dict
    """Small numbers that go with every heartbeat."""
    vitals: Callable[[], dict[str, Any]] = dict
    """What a console shows of a worker: asked for once a second, while somebody looks."""
    listen: Callable[[Callable[[dict[str, Any]], None]], None] = lambda _tell: None
    """Called once in every worker, with what takes the events that operators are shown."""
    set_log_level: Callable[[str], None] = lambda _level: None
    route_of: Callable[[Any], str] = lambda scope: scope["path"]
    """Return what a request's scope is called: its route's template."""
    enter_worker: Callable[[int], None] = lambda _slot: None
    """Called first in every worker, with its slot number."""
    begin_drain: Callable[[str], None] = lambda _reason: None
    """Called when a worker begins to drain, with why."""
    leave_worker: Callable[[], None] = lambda: None
    """Called last in every worker, after the application's shutdown."""
    headers_for: Callable[[Headers], Headers] = lambda _request: ()
    """What those answers carry besides for the header fields of a request, as far as it came."""
    count_refusal: Callable[[int, str], None] = lambda _status, _reason: None
    """Called with the status of each answer that a connection gives by itself."""
    debug: bool = False
    """asyncio's debug mode."""
    instant: Instant = field(default_factory=NeverInstant)
    """What answers requests before the application sees them."""
    error_headers: Headers = ()
    """Headers of the answers that the connection gives before the application sees a request."""


@dataclass(frozen=True, kw_only=True)
class WorkerLimits(ConnectionLimits):
    """Limits of one worker's connections and of its end; times in seconds, sizes in bytes."""

    drain_delay_seconds: float = 0
    drain_seconds: float = 20
    close_seconds: float = 5
    """Time for the application's own shutdown, after the last request."""


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """What to run, where, how often and for how long; times in seconds."""

    program: str
    arguments: tuple[str, ...] = ()
    """What the function that `program` names is called with."""
    workers: int = 1
    start_method: Literal["fork", "spawn"] = "fork"
    start_seconds: float = 60
    hang_seconds: float = 10
    recycle_requests: int = 0
    recycle_rss_bytes: int = 0
    rss_limits: Mapping[str, int] = field(default_factory=dict)
    """Limits on a worker's memory in bytes, by setting: one below a fresh worker is logged."""
    retries_code: bool = True
    """Whether newer code that does not start is tried again, or only when that is asked for."""
    prepares_code: bool = False
    """Whether a process waits for the next code, with the library imported."""
    renewed: Callable[[], SupervisorConfig] | None = None
    """Reads the configuration anew, for a reload."""
    keep_listeners: bool = False
    """Whether somebody else keeps the listening sockets, for the next service."""
    sample_seconds: float = 5
    idle_seconds: float = 1
    """Time that an idle connection of a replaced worker stays, so that its client's next request is
    answered and asked to reconnect."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A worker's place; numbers of descriptors that it inherited."""

    slot: int
    count_entry: int
    generation: int
    log_level: str
    """The level that an operator asked for; empty for that of the settings."""
    channel: int
    stacks: int
    counts: int
    listeners: tuple[int, ...]
    limits: WorkerLimits

    @classmethod
    def parse(
        cls, assignment: dict[str, Any], boot: dict[str, Any], *, channel: int, stacks: int
    ) -> Self:
        """Put together what the supervisor said once and what it says for each worker."""
        return cls(
            **assignment,
            channel=channel,
            stacks=stacks,
            counts=boot["counts"],
            listeners=tuple(boot["listeners"]),
            limits=WorkerLimits(**boot["limits"]),
        )

    def report_failure(self, error: BaseException) -> None:
        """Tell the supervisor why this worker cannot start, before there is a loop."""
        reason, trace = failure_of(error)
        with socket.socket(fileno=self.channel) as channel:
            channel.sendall(encode({"event": "failed", "reason": reason, "trace": trace}))


def load_program(import_string: str, arguments: Sequence[str] = ()) -> Program:
    """Import `module:function` and call it with the arguments.

    Raises:
        Exception: Whatever the import or the call raises.
    """
    program = find(import_string)(*arguments)
    if not isinstance(program, Program):
        raise TypeError(f"{import_string} returned {type(program).__name__}, not a Program")
    return program


def failure_of(error: BaseException) -> tuple[str, str]:
    """Return why something failed, as people read it, and the end of the trace."""
    trace = "".join(traceback.format_exception(error))
    return reason_of(error), trace[-TRACE_CHARACTERS_MAX:]


def reason_of(error: BaseException) -> str:
    """Return an error as people read it: its first line ends with where in own code it was."""
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip() or "no message"
    text = text[:REASON_CHARACTERS_MAX]  # a driver may quote megabytes
    if isinstance(error, SystemExit):
        return text
    place = place_of_error(error)
    first, *others = text.splitlines()
    return "\n".join([f"{type(error).__name__}: {first}" + f" ({place})" * bool(place), *others])
