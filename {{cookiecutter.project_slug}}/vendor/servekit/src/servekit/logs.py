"""One JSON line per event on stdout, or a readable line on a terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.contextvars import get_contextvars
from structlog.processors import format_exc_info
from structlog.typing import EventDict, Processor, WrappedLogger

from servekit.hang_up import is_hang_up

RECORD_FIELDS = {
    *vars(logging.LogRecord("", 0, "", 0, "", (), None)),
    *("message", "asctime", "taskName"),  # what formatters and newer Pythons add
    "color_message",  # uvicorn's, the message again
}
OUR_FIELDS = frozenset({"timestamp", "level", "event", "worker", "logger", "exception"})
EXTRA = "extra_"
"""What stands before a name of `extra=` that is a field of ours."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
TERMINAL_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
JSON_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

Event = tuple[str, EventDict]

LiveLogger: Any = type("LiveLogger", (structlog.make_filtering_bound_logger(LEVELS["info"]),), {})
"""The class of all loggers; another base is another level for those in use too."""

listeners: list[Callable[[EventDict], None]] = []
"""Called with each event of structlog's that is written, in the thread that logs it."""

JSON_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def configure_logs(level: str = "info", format: str = "auto", worker: int | None = None) -> None:  # noqa: A002 - the setting's name
    """Send structlog's events and the records of `logging` and `warnings` to stdout in one form.

    `format` is `json`, `console` or `auto`, which is `console` on a terminal. `worker` is the slot
    number that each line carries. Call it again in a forked process to change it: loggers that
    were used before follow.
    """
    console = format == "console" or (format == "auto" and sys.stdout.isatty())
    render: Processor = render_console() if console else render_json
    prepare: list[Processor] = [Stamp(worker)]
    configure_structlog(LEVELS[level], [*prepare, tell_listeners, render])
    configure_stdlib(LEVELS[level], prepare, render)


def set_level(level: str) -> None:
    """Write events of this level and above from now on; loggers that are in use follow."""
    set_structlog_level(LEVELS[level])
    logging.getLogger().setLevel(LEVELS[level])


def set_structlog_level(level: int) -> None:
    """Have structlog's loggers write events of this level and above."""
    LiveLogger.__bases__ = (structlog.make_filtering_bound_logger(level),)


def current_level() -> str:
    """Return the least severe level that is written."""
    name: str = logging.getLevelName(LiveLogger.get_effective_level(None)).lower()
    return name


def configure_structlog(level: int, processors: list[Processor]) -> None:
    """Set structlog up, and every logger that is in use already."""
    # Loggers in use keep a reference to the list of processors: changing it in place reaches them.
    live = structlog.get_config()["processors"] if structlog.is_configured() else []
    live[:] = processors
    set_structlog_level(level)
    structlog.configure(
        processors=live,
        wrapper_class=LiveLogger,
        logger_factory=Stdout,
        cache_logger_on_first_use=True,
    )


def event_writer() -> Callable[[Iterable[Event]], None]:
    """Return what writes events, each a level and its fields, with one time and in one call.

    For the line that every request writes: a fifth of the time of `log.info`. What is bound to the
    request is left out of the JSON line, so pass what matters. It follows `configure_logs` and
    `set_level`.
    """
    processors = structlog.get_config()["processors"]
    stdout = Stdout()

    def write(events: Iterable[Event]) -> None:
        least = LiveLogger.get_effective_level(None)
        wanted = [event for event in events if LEVELS[event[0]] >= least]
        if processors[-1] is not render_json:
            lines = [processed(processors, method, fields) for method, fields in wanted]
        else:
            now, fixed = datetime.now(UTC), processors[0].fixed
            lines = [
                render_json(None, method, {"timestamp": now, "level": method, **fields, **fixed})
                for method, fields in wanted
            ]
        if lines:
            stdout.msg(b"\n".join(lines))

    return write


def processed(processors: list[Processor], method: str, fields: EventDict) -> bytes:
    """Return the line that structlog's processors make of an event."""
    event: Any = fields
    for process in processors:
        event = process(None, method, event)
    # Text where `configure_logs` was not called: under another server, in a foreign test.
    return event if isinstance(event, bytes) else str(event).encode("utf-8", "backslashreplace")


class Stdout:
    """Write each line with one call to file descriptor 1: no lock, no buffer, nothing to fork.

    A log that cannot be written never fails a request: the line is dropped.
    """

    def msg(self, line: bytes) -> None:
        line += b"\n"
        try:
            written = os.write(1, line)
            while written < len(line):
                written += os.write(1, line[written:])
        except OSError:
            return

    debug = info = warning = error = critical = exception = msg


def configure_stdlib(level: int, prepare: list[Processor], render: Processor) -> None:
    """Give the root logger one handler, so that records of libraries take the same form."""
    handler = StdoutHandler()
    handler.addFilter(not_yet_logged)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, add_extra],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *prepare,
                as_text(render),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [
        handler,
        *(other for other in root.handlers if not isinstance(other, StdoutHandler)),
    ]
    root.setLevel(level)
    logging.captureWarnings(capture=True)


class StdoutHandler(logging.Handler):
    """Write each record as one line, in order with structlog's."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            Stdout().msg(self.format(record).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001 - the contract of logging: a log line never raises
            self.handleError(record)


def tell_listeners(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Show an event to whoever listens."""
    for listener in listeners:
        listener(fields)
    return fields


class Stamp:
    """Put time, level and event first, then what is bound to the request, then the event's own."""

    def __init__(self, worker: int | None) -> None:
        self.fixed = {} if worker is None else {"worker": worker}

    def __call__(self, _: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        if "exc_info" in fields:
            fields = format_exc_info(_, method, fields)
        ours = {
            "timestamp": datetime.now(UTC),
            "level": "error" if method == "exception" else method,
            "event": fields.pop("event", ""),
            **self.fixed,
        }
        for name in ours.keys() & fields.keys():
            fields[EXTRA + name] = fields.pop(name)
        return {**ours, **get_contextvars(), **fields}


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


def not_yet_logged(record: logging.LogRecord) -> bool:
    """Refuse the server's record of what ErrorsMiddleware has logged, and of a client that left."""
    error = record.exc_info[1] if record.exc_info else None
    return not getattr(error, "is_logged", False) and not is_hang_up(error)


def render_json(_: WrappedLogger, __: str, fields: EventDict) -> bytes:
    """Return one line of JSON; whatever the values hold, it stays one line and never fails."""
    try:
        line = orjson.dumps(fields, default=repr, option=JSON_OPTIONS)
    except TypeError:
        return render_odd(fields)
    # JSON escapes the C0 controls only; some viewers break lines or obey commands at others.
    return line if line.isascii() else JSON_CONTROLS.sub(json_escape, line.decode()).encode()


def render_odd(fields: EventDict) -> bytes:
    """Return the line where orjson does not: surrogates, integers above 64 bits, worse things."""
    try:
        return json.dumps(fields, default=plain, skipkeys=True, allow_nan=False).encode()
    except Exception:  # noqa: BLE001 - endless values, and objects that cannot even show themselves
        return json.dumps({str(name): shown(value) for name, value in fields.items()}).encode()


def shown(value: Any) -> Any:
    """Return a value that JSON knows, as text where it is not one."""
    if value is None or isinstance(value, str | bool):
        return value
    try:
        return plain(value)
    except Exception:  # noqa: BLE001 - a line is worth more than one of its values
        return f"<{type(value).__name__}>"


def render_console() -> Processor:
    """Return a renderer of coloured lines in which no value can draw another line."""
    renderer = structlog.dev.ConsoleRenderer(
        exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )

    def render(logger: WrappedLogger, method: str, fields: EventDict) -> bytes:
        exception = fields.pop("exception", None)
        fields["timestamp"] = plain(fields["timestamp"])
        safe = {terminal_safe(name): terminal_safe(value) for name, value in fields.items()}
        lines = [str(renderer(logger, method, safe))]
        lines += [f"    {terminal_safe(line)}" for line in (exception or "").splitlines()]
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    return render


def as_text(render: Processor) -> Processor:
    """Return a renderer for `logging`, whose formatters return text."""

    def render_text(logger: WrappedLogger, method: str, fields: EventDict) -> str:
        line = render(logger, method, fields)
        return line.decode() if isinstance(line, bytes) else str(line)

    return render_text


def plain(value: Any) -> str:
    """Return text for what JSON does not know."""
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def terminal_safe(value: Any) -> Any:
    """Return text whose control characters are spelled out; what shows itself without, as it is."""
    text = value if isinstance(value, str) else str(shown(value))
    safe = TERMINAL_CONTROLS.sub(terminal_escape, text)
    return value if safe == text and not text.startswith("<") else safe


def terminal_escape(found: re.Match[str]) -> str:
    """Return the Python escape of one character."""
    return found[0].encode("unicode_escape").decode()


def json_escape(found: re.Match[str]) -> str:
    """Return the JSON escape of one character."""
    return f"\\u{ord(found[0]):04x}"
