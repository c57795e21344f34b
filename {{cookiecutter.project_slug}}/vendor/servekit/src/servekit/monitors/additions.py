"""Where the program's own source adds to what a name holds: the lines to edit of what grows."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from servekit.own_code import is_own

LAST_WORD = re.compile(r"(\w+)(?:\[[^\]]*\])*$")
ADDING = re.compile("add|append(left)?|extend(left)?|insert|put(_nowait)?|setdefault|update")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def added_at(name: str, place: str) -> list[str]:
    """Return as `file:line` where own functions add to what a name holds that is bound at a place.

    In the file of the place it is what is called so, an attribute or a closure's variable too; in
    others the module's name, if it is the same object there.
    """
    file = place.rpartition(":")[0]
    found = LAST_WORD.search(name)
    if not (found and file and is_own(file)):
        return []
    word = found[1]
    missing = object()
    modules = {one.__file__: one for one in list(sys.modules.values()) if has_own_source(one)}
    bound = vars(modules[file]).get(word, missing) if file in modules else missing
    others = [other for other in modules if vars(modules[other]).get(word, None) is bound]
    lines = []
    for each in dict.fromkeys([file, *others]):
        lines += [f"{each}:{line}" for at, line in additions(each) if at == word]
    return lines


def has_own_source(module: object) -> bool:
    """Tell whether something imported is a module of the program's own, with a file."""
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    return isinstance(file, str) and file.endswith(".py") and is_own(file)


@lru_cache(256)
def additions(file: str) -> list[tuple[str, int]]:
    """Return what functions of a file add to, by the last word of its name, and at which line."""
    try:
        body = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return []
    inside = (
        node
        for function in ast.walk(body)
        if isinstance(function, FUNCTIONS)
        for node in ast.walk(function)
    )
    return sorted({(word, line) for node in inside for word, line in added(node)}, key=by_line)


def by_line(addition: tuple[str, int]) -> int:
    """Return what additions are sorted by."""
    return addition[1]


def added(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what a piece of code adds to, and its line, if it is such a piece."""
    into: list[ast.expr] = []
    match node:
        case ast.Assign(targets=targets):
            into = [target.value for target in targets if isinstance(target, ast.Subscript)]
        case ast.AugAssign(target=ast.Subscript(value=target)) | ast.AugAssign(target=target):
            into = [target]
        case ast.Call(func=ast.Attribute(value=target, attr=how)) if ADDING.fullmatch(how):
            into = [target]
    for target in into:
        if isinstance(target, ast.Name):
            yield target.id, target.lineno
        elif isinstance(target, ast.Attribute):
            yield target.attr, target.lineno
