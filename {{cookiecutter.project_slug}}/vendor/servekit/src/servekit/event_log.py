"""The library's own loggers, and what they share with structlog's where a user set up none."""

from __future__ import annotations

import os
from typing import Any

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import JSONRenderer, add_log_level, format_exc_info
from structlog.typing import Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

LiveLogger: Any = type("LiveLogger", (structlog.make_filtering_bound_logger(LEVELS["info"]),), {})
"""The class of all loggers; another base is another level for those in use too."""

# structlog's own list, so that `structlog.testing.capture_logs` sees the library's events too.
processors: list[Processor] = (
    [merge_contextvars, add_log_level, format_exc_info, JSONRenderer()]
    if structlog.is_configured()
    else structlog.get_config()["processors"]
)
"""What each event of the library's goes through, whatever a user tells structlog.

Loggers in use hold this list: it is filled anew, never replaced.
"""


class Stdout:
    """Write each line with one call to standard output: no lock, no buffer, nothing to fork.

    A log that cannot be written never fails a request: the line is dropped. `name` is what
    a user's logger was made with.
    """

    descriptor = 1
    """Where the log goes; in a process for computation, where its parent's does."""

    _cut = False
    """The last line that was written has no end."""

    def __init__(self, *names: object) -> None:
        self.name = str(names[0]) if names else ""

    def msg(self, line: str | bytes) -> None:
        if isinstance(line, str):
            line = line.encode("utf-8", "backslashreplace")
        whole = left = (b"\n" if Stdout._cut else b"") + line + b"\n"
        try:
            while left:
                left = left[os.write(Stdout.descriptor, left) :]
        except OSError:  # a pipe that does not wait is full, or nobody reads it
            Stdout._cut = Stdout._cut or len(left) < len(whole)
        else:
            Stdout._cut = False

    debug = info = warning = error = critical = exception = msg


def get_logger() -> Any:
    """Return a logger of the library's, which no `structlog.configure` of a user's changes."""
    return structlog.wrap_logger(
        Stdout(),
        processors=processors,
        wrapper_class=LiveLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )


def set_structlog_level(level: int) -> None:
    """Have the loggers write events of this level and above, those in use too."""
    LiveLogger.__bases__ = (structlog.make_filtering_bound_logger(level),)


def configure_structlog(chain: list[Processor]) -> None:
    """Send events through these processors; a user's `structlog.configure` stands.

    A second call leaves what a user has put between them.
    """
    if chain[0] not in processors:
        processors[:] = chain
    if not structlog.is_configured():
        # Not cached: what was used at the import follows a user's configuration in a lifespan.
        structlog.configure(processors=processors, wrapper_class=LiveLogger, logger_factory=Stdout)
