"""What the source of the service says about places that were seen, where its files are at hand."""

from __future__ import annotations

import ast
import linecache
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from servekit.syntax import last_word, parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from servekit.diagnosis.stacks import Frame, Profile

PLACE = re.compile(r"\S+\.py:\d+")
STARTING = frozenset({"create_task", "ensure_future", "start_soon", "run_coroutine_threadsafe"})
CALLED_BY = ", called by "
"""Between a place and those who called it."""

Within = dict[str, list[str]]
"""By `file:line`: what is entered by `async with` at that line, or around it."""


def facts(profiles: Iterable[Profile]) -> dict[str, Within]:
    """Return `within` of the own lines at which requests waited, and where tasks are `started`.

    The latter by the coroutines' names, as `file:line`.
    """
    within: Within = {}
    started: Within = {}
    for profile in profiles:
        for frame in {frame for stack in profile.waits for frame in stack if frame.kind == "own"}:
            if found := entered_around(frame):
                within[frame.place] = found
        for frame in profile.tasks:
            if frame.kind == "own" and (lines := starts_of(frame)):
                started[frame.name] = lines
    return {"within": within, "started": started}


def lines_of(places: Iterable[str]) -> dict[str, str]:
    """Return the text of each `file:line` in places, those who called it aside."""
    lines = {}
    for at in (at for place in places for at in places_in(place)):
        file, _, line = at.rpartition(":")
        if text := linecache.getline(file, int(line)).strip():
            lines[at] = text
    return lines


def places_in(place: str) -> list[str]:
    """Return each `file:line` of a place that is told, those who called it aside."""
    return PLACE.findall(place.partition(CALLED_BY)[0])


def entered_around(frame: Frame) -> list[str]:
    """Return what the code at a frame's line has entered by `async with`, or enters there."""
    return [
        ast.unparse(item.context_expr)
        for node in nodes(frame.file)
        if isinstance(node, ast.AsyncWith) and node.lineno <= frame.line <= (node.end_lineno or 0)
        for item in node.items
    ]


def starts_of(coroutine: Frame) -> list[str]:
    """Return the lines of a coroutine's own file that have it run in a task."""
    name = coroutine.name.rpartition(".")[2]
    return [
        f"{coroutine.place.rpartition(':')[0]}:{node.lineno}"
        for node in nodes(coroutine.file)
        if isinstance(node, ast.Call)
        and last_word(node.func) in STARTING
        and name in set(named_in(node))
    ]


def named_in(call: ast.Call) -> Iterator[str]:
    """Yield what the arguments of a call are, or what they call."""
    for given in call.args:
        yield last_word(given.func if isinstance(given, ast.Call) else given)


@lru_cache(256)
def nodes(file: str) -> tuple[ast.AST, ...]:
    """Return the syntax tree of a file, node by node."""
    return tuple(ast.walk(parsed(file)))


def same_lock(one: Frame, other: Frame, within: Mapping[str, list[str]]) -> bool:
    """Tell whether two lines enter, or are within, what is written alike and may be the same.

    What begins with `self` is that of a class.
    """
    shared = set(within.get(one.place, ())) & set(within.get(other.place, ()))
    alike = one.file == other.file
    same_class = alike and one.name.rpartition(".")[0] == other.name.rpartition(".")[0]
    return any(same_class if text.startswith("self.") else alike for text in shared)
