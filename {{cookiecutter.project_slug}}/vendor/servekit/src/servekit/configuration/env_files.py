"""`.env`, and other files that variables are read from."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from servekit.configuration.settings import Settings
from servekit.notation.urls import Refused

FILE_BYTES_MAX = 1_048_576


def env_files(kind: type[Settings]) -> list[Path]:
    """Return the files that a class reads variables from; those that come later win."""
    given = kind.model_config.get("env_file")
    if given is None:
        return []
    each = [given] if isinstance(given, str | os.PathLike) else list(given)
    return [Path(file).expanduser() for file in each]


def read_env_files(kind: type[Settings]) -> dict[str, str]:
    """Return the variables of `.env`, and of whatever else a class names.

    Raises:
        Refused: A file is there, and cannot be read; the text begins with its name, and repeats
            nothing that it holds but the name of a variable that is looked up.
    """
    encoding = kind.model_config.get("env_file_encoding") or "utf-8"
    found: dict[str, str] = {}
    for file in env_files(kind):
        text = read_file(file, encoding)
        known: dict[str, str | None] = {**os.environ}
        for binding in parse_stream(io.StringIO(text)):
            if wrong := problem_of(binding, known):
                raise Refused(f"{file}: line {binding.original.line} {wrong}")
            if binding.key:
                known[binding.key] = binding.value
        values = dotenv_values(stream=io.StringIO(text))
        found |= {name: value for name, value in values.items() if value is not None}
    return found


def problem_of(binding: Binding, known: Mapping[str, str | None]) -> str:
    """Return what is wrong with a line, if anything is; `known` are those that it may look up."""
    if binding.error:
        return "is not NAME=value, or a quote is not closed"
    if binding.key and binding.value is None:
        return "has no `=`: it is not NAME=value, or goes on from the line before without quotes"
    for part in parse_variables(binding.value or ""):
        if isinstance(part, Variable) and part.default is None and part.name not in known:
            return f"looks up ${{{part.name}}}, which is not set"
    return ""


def read_file(file: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, empty where there is none.

    Raises:
        Refused: It is there, and cannot be read.
    """
    try:
        is_pipe = stat.S_ISFIFO(file.stat().st_mode)
        with contextlib.nullcontext(io.BytesIO()) if is_pipe else file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path of a file"
        raise Refused(f"{file}: cannot be read: {reason}") from None
    if is_pipe:
        raise Refused(f"{file}: is a pipe, which can be read once: each worker reads it")
    if len(content) > FILE_BYTES_MAX:
        raise Refused(f"{file}: is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        name = encoding.removesuffix("-sig").upper()
        raise Refused(f"{file}: is not text in {name}: save it as {name}") from None
    if "\0" in text:
        raise Refused(f"{file}: holds zero bytes, as UTF-16 does: save it as UTF-8")
    return text
