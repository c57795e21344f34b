"""Which code is the service's own, and where in it an error was raised."""

from __future__ import annotations

import linecache
import re
import traceback
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+?)(?:\.py|/)")
OURS = re.compile(r"/(src|site-packages|dist-packages)/servekit/")
PYTHON = re.compile(r"<|.*/lib/python3[^/]*/")
CYTHON = re.compile(r"[^/].*\.p(?:yx|xd|xi)")
"""What is compiled names its source by where it lay then: `asyncpg/protocol/protocol.pyx`."""
DEF = re.compile(r"\s*(async\s+)?def\b")
DECORATORS_MAX = 100
"""Lines above a function: those of a route may be many."""

_installed_applications: set[str] = set()


def claim(import_string: str) -> None:
    """Count the package of `package.module:name` as own code where it is installed, as in images.

    Elsewhere all that is neither Python's, nor installed, nor this library's is own code.
    """
    _installed_applications.add(import_string.partition(":")[0].partition(".")[0])
    kind_of.cache_clear()


@lru_cache(4096)
def kind_of(file: str) -> str:
    """Return whose code a file is: `own`, `servekit`, `library` or `python`."""
    if OURS.search(file):
        return "servekit"
    if installed := INSTALLED.search(file):
        return "own" if installed[1] in _installed_applications else "library"
    if CYTHON.fullmatch(file):
        return "library" if _installed_applications.isdisjoint(file.split("/")) else "own"
    return "python" if PYTHON.match(file) else "own"


def is_own(file: str) -> bool:
    """Tell whether a file is the service's."""
    return kind_of(file) == "own"


def shown(file: str, line: int) -> str:
    """Return `file:line`, from this folder on if it is below it."""
    return f"{file.removeprefix(f'{Path.cwd()}/')}:{line}"


@lru_cache(4096)
def begins_at(code: CodeType) -> int:
    """Return the line of an own function's `def`, below its decorators; of others what they say."""
    first = code.co_firstlineno
    if is_own(code.co_filename) and linecache.getline(code.co_filename, first).lstrip()[:1] == "@":
        for line in range(first + 1, first + DECORATORS_MAX):
            if DEF.match(linecache.getline(code.co_filename, line)):
                return line
    return first


def line_of(frame: FrameType) -> int:
    """Return the line that a frame executes, also where an instruction belongs to none.

    The jump back of a loop is one: it counts to the line before it.
    """
    found = frame.f_lineno
    if found is None:
        found = frame.f_code.co_firstlineno
        for start, _, line in frame.f_code.co_lines():
            if start <= frame.f_lasti and line is not None:
                found = line
    return found


def place_of_error(error: BaseException) -> str:
    """Return `file:line` of the innermost own line that an error passed, or of wrong syntax.

    Of a group it is that of the first error that has one; nothing if there is none.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return shown(error.filename, error.lineno)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    if found := next(filter(None, map(place_of_error, inner)), ""):
        return found
    lines = [
        shown(frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_own(frame.f_code.co_filename)
    ]
    return lines[-1] if lines else ""
