"""One JSON line per event on stdout, or a readable line on a terminal."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.contextvars import get_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info
from structlog.typing import EventDict, Processor, WrappedLogger

from servekit.event_log import (
    LEVELS,
    LiveLogger,
    Stdout,
    configure_structlog,
    processors,
    set_structlog_level,
)
from servekit.hang_up import is_hang_up
from servekit.log_lines import render_console, render_json

RECORD_FIELDS = {
    *vars(logging.LogRecord("", 0, "", 0, "", (), None)),
    *("message", "asctime", "taskName"),  # what formatters and newer Pythons add
    "color_message",  # uvicorn's, the message again
}
OUR_FIELDS = frozenset({"timestamp", "level", "event", "worker", "logger", "exception"})
EXTRA = "extra_"
"""What stands before a name of `extra=` that is a field of ours."""

own_stack = StackInfoRenderer(["servekit.logs"])


Event = tuple[str, EventDict]

listeners: list[Callable[[EventDict], None]] = []
"""Called with each event of structlog's that is written, in the thread that logs it."""


def configure_logs(level: str = "info", format: str = "auto", worker: int | None = None) -> None:  # noqa: A002 - the setting's name
    """Send structlog's events and the records of `logging` and `warnings` to stdout in one form.

    `format` is `json`, `console` or `auto`, which is `console` on a terminal. `worker` is the slot
    number that each line carries. Loggers that were used before follow; those of a user who has
    configured structlog himself are left alone.
    """
    console = format == "console" or (format == "auto" and sys.stdout.isatty())
    name_worker(worker)
    write_events(LEVELS[level], render_console() if console else render_json)
    configure_stdlib(LEVELS[level])


def log_form() -> tuple[str, str, int | None] | None:
    """Return what `configure_logs` was told, as it holds now; None where nobody called it."""
    if processors[-1] is not one_line:
        return None
    form = "json" if one_line.render is render_json else "console"
    return current_level(), form, stamp.fixed.get("worker")


def name_worker(slot: int | None) -> None:
    """Put a worker's slot number on each line from now on; all else stays as it is set."""
    stamp.fixed = {} if slot is None else {"worker": slot}


def write_events(level: int, render: Processor) -> None:
    """Have structlog's events of this level and above rendered so, one line each."""
    one_line.render = render
    set_structlog_level(level)
    configure_structlog([stamp, tell_listeners, one_line])


def set_level(level: str) -> None:
    """Write events of this level and above from now on; loggers that are in use follow."""
    set_structlog_level(LEVELS[level])
    logging.getLogger().setLevel(LEVELS[level])


def current_level() -> str:
    """Return the least severe level that is written."""
    name: str = logging.getLevelName(LiveLogger.get_effective_level(None)).lower()
    return name


def event_writer() -> Callable[[Iterable[Event]], None]:
    """Return what writes events, each a level and its fields, with one time and in one call.

    For the line that every request writes: a fifth of the time of `log.info`. What is bound to the
    request is left out of the JSON line, so pass what matters. It follows `configure_logs` and
    `set_level`.
    """
    stdout = Stdout()

    def write(events: Iterable[Event]) -> None:
        least = LiveLogger.get_effective_level(None)
        wanted = [event for event in events if LEVELS[event[0]] >= least]
        if processors[-1] is not one_line or one_line.render is not render_json:
            # They are of several requests: what one has bound is not on the others' lines.
            unbound = Context()
            lines = [unbound.run(processed, method, fields) for method, fields in wanted]
        else:
            now, fixed = datetime.now(UTC), stamp.fixed
            lines = [
                render_json(None, method, {"timestamp": now, "level": method, **fields, **fixed})
                for method, fields in wanted
            ]
        if lines:
            stdout.msg(b"\n".join(lines))

    return write


def processed(method: str, fields: EventDict) -> bytes:
    """Return the line that structlog's processors make of an event."""
    event: Any = fields
    for process in processors:
        event = process(None, method, event)
    return str(event).encode("utf-8", "backslashreplace")


def configure_stdlib(level: int) -> None:
    """Give the root logger one handler, so that records of libraries take the same form."""
    handler = StdoutHandler()
    handler.addFilter(not_yet_logged)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, add_extra],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                stamp,
                one_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [
        handler,
        *(other for other in root.handlers if not isinstance(other, StdoutHandler)),
    ]
    root.setLevel(level)
    logging.getLogger("uvicorn.error").addFilter(not_cancelled)
    logging.captureWarnings(capture=True)


class StdoutHandler(logging.Handler):
    """Write each record as one line, in order with structlog's."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            Stdout().msg(self.format(record))
        except Exception:  # noqa: BLE001 - the contract of logging: a log line never raises
            self.handleError(record)


def tell_listeners(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Show an event to whoever listens."""
    for listener in listeners:
        with suppress(Exception):  # as of logging's handlers: a log line never raises
            listener(fields)
    return fields


class Stamp:
    """Put time, level and event first, then what is bound to the request, then the event's own."""

    def __init__(self) -> None:
        self.fixed: EventDict = {}
        """What each line carries: the worker's slot."""

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        if "exc_info" in fields:
            fields = format_exc_info(logger, method, fields)
        if "stack_info" in fields:
            fields = with_stack(logger, method, fields)
        ours = {
            "timestamp": datetime.now(UTC),
            "level": "error" if method == "exception" else method,
            "event": fields.pop("event", ""),
            **self.fixed,
        }
        if isinstance(logger, Stdout) and logger.name:
            ours["logger"] = logger.name
        bound = get_contextvars()
        for given in (bound, fields):
            for name in ours.keys() & given.keys():
                given[EXTRA + name] = given.pop(name)
        return {**ours, **bound, **fields}


def with_stack(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """Put the stack that was asked for into a field; a record of `logging` brings it along."""
    if isinstance(fields["stack_info"], str):
        fields["stack"] = fields.pop("stack_info")
        return fields
    return own_stack(logger, method, fields)


def add_extra(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Add what a record of `logging` was given as `extra=`, under names that are not ours."""
    record = vars(fields["_record"])
    ours = {*fields, *OUR_FIELDS, *get_contextvars()}
    for name in record.keys() - RECORD_FIELDS:
        new = name
        while new in ours or (new != name and new in record):
            new = EXTRA + new
        fields[new] = record[name]
    return fields


def not_cancelled(record: logging.LogRecord) -> bool:
    """Refuse for every handler the server's record of a request that we have ended ourselves.

    That of an error in the application is refused for ours alone, see `not_yet_logged`: handlers
    of a user's, and Sentry, learn of it as under uvicorn.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) or not_yet_logged(record)


def not_yet_logged(record: logging.LogRecord) -> bool:
    """Refuse the server's record of what ErrorsMiddleware has logged, and of a client that left."""
    error = record.exc_info[1] if record.exc_info else None
    return not getattr(error, "is_logged", False) and not is_hang_up(error)


class OneLine:
    """Make one line of the fields; text, for the writers of `logging` and of a user's structlog."""

    def __init__(self) -> None:
        self.render: Processor = render_json

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> str:
        line = self.render(logger, method, fields)
        return line.decode() if isinstance(line, bytes) else str(line)


# Changed in place where a worker is forked: users may have taken them into a list of their own.
stamp = Stamp()
one_line = OneLine()
