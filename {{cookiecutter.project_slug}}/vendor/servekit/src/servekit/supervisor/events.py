"""What happens to workers and their code, and what is then to be done: the words of `Decisions`.

Workers and generations of code are numbers here: whoever runs the processes knows which is which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """The code of a generation was loaded: workers can be started from it."""

    generation: int


@dataclass(frozen=True)
class LoadFailed:
    """The code of a generation cannot be loaded."""

    generation: int
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class LauncherLost:
    """No more workers can be started from a generation; those that live go on."""

    generation: int


@dataclass(frozen=True)
class Ready:
    """A worker serves."""

    worker: int


@dataclass(frozen=True)
class StartFailed:
    """A worker did not start: there is no process, or its application refused."""

    worker: int
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Draining:
    """A worker began to drain."""

    worker: int


@dataclass(frozen=True)
class Exited:
    """A worker's process is gone; the status is None when nobody knows it."""

    worker: int
    status: int | None


@dataclass(frozen=True)
class Hung:
    """A worker was silent for too long."""

    worker: int
    silent_seconds: float = 0


@dataclass(frozen=True)
class Aged:
    """A worker has served its number of requests, or grew too large."""

    worker: int
    reason: str


@dataclass(frozen=True)
class ReloadAsked:
    """Load the code anew and replace every worker."""


@dataclass(frozen=True)
class ScaleAsked:
    """Have this many workers."""

    count: int


@dataclass(frozen=True)
class StopAsked:
    """Drain everything and end; asked again later, do not wait."""


@dataclass(frozen=True)
class TimePassed:
    """A moment that was asked for has come."""


OfWorker = Ready | StartFailed | Draining | Exited | Hung | Aged
OfService = Loaded | LoadFailed | LauncherLost | ReloadAsked | ScaleAsked | StopAsked | TimePassed
Event = OfWorker | OfService


@dataclass(frozen=True)
class Load:
    """Load the code as it is now; `Loaded` or `LoadFailed` follows."""

    generation: int


@dataclass(frozen=True)
class Prepare:
    """Do ahead what the next `Load` can begin with."""


@dataclass(frozen=True)
class Close:
    """Nobody starts from this generation any more, and nobody runs it."""

    generation: int


@dataclass(frozen=True)
class Launch:
    """Start a worker; `Ready`, `StartFailed` or `Exited` follows."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True)
class Drain:
    """Tell a worker to end; it may accept until `delay` is over."""

    worker: int
    reason: str
    accept: bool
    delay: float


@dataclass(frozen=True)
class Kill:
    """End a process at once, having logged `why` and where it stands; `Exited` follows."""

    worker: int
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """Say what was decided; `pids` names workers, whose process ids join the facts."""

    level: str
    event: str
    facts: dict[str, Any]
    pids: dict[str, int]


@dataclass(frozen=True)
class Announce:
    """The service has started."""


@dataclass(frozen=True)
class End:
    """The service ends with this exit code."""

    code: int


Action = Load | Prepare | Close | Launch | Drain | Kill | Log | Announce | End
