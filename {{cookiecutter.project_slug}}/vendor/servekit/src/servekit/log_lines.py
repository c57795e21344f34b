"""How an event of the log is written: as one line of JSON, or for a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

TERMINAL_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
JSON_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
JSON_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


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
        return json.dumps(with_text_keys(fields), default=plain, allow_nan=False).encode()
    except Exception:  # noqa: BLE001 - endless values, and objects that cannot even show themselves
        return json.dumps({str(name): shown(value) for name, value in fields.items()}).encode()


def with_text_keys(value: Any) -> Any:
    """Return a value whose tables have keys that JSON knows: others are shown as they are."""
    if isinstance(value, Mapping):
        known = str | int | float | bool | None
        return {
            key if isinstance(key, known) else plain(key): with_text_keys(each)
            for key, each in value.items()
        }
    return [with_text_keys(each) for each in value] if isinstance(value, list | tuple) else value


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
        below = [str(shown(fields.pop(name, ""))) for name in ("stack", "exception")]
        fields["timestamp"] = plain(fields["timestamp"])
        safe = {terminal_safe(name): terminal_safe(value) for name, value in fields.items()}
        lines = [str(renderer(logger, method, safe))]
        lines += [f"    {terminal_safe(line)}" for text in below for line in text.splitlines()]
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    return render


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
