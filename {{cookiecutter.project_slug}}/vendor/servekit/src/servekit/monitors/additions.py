"""Where the program's own source binds what names hold, and where it adds to it."""

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
STATE = re.compile(r"app\.state\.(\w+)")


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
    modules = own_modules()
    bound = vars(modules[file]).get(word, missing) if file in modules else missing
    others = [other for other in modules if vars(modules[other]).get(word) is bound]
    if STATE.fullmatch(name):
        others = list(modules)
    lines = []
    for each in dict.fromkeys([file, *others]):
        lines += [f"{each}:{line}" for at, line in additions(each) if at == word]
    return lines


def attribute_of_class(kind: type, name: str) -> str:
    """Return as `file:line` where an own class binds the attribute that a name ends with, or ""."""
    found = LAST_WORD.search(name)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if not (found and file and is_own(file)):
        return ""
    same = (
        node
        for node in nodes(file)
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return next((f"{file}:{line}" for node in same if (line := bound_in(node, found[1]))), "")


def attribute_of_state(name: str) -> str:
    """Return as `file:line` where own code sets the attribute of `app.state` that a name is of."""
    if (found := STATE.match(name)) is None:
        return ""
    lines = (
        f"{file}:{node.lineno}"
        for file in own_modules()
        for node in nodes(file)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and (getattr(node.value, "attr", ""), node.attr) == ("state", found[1])
    )
    return next(lines, "")


def own_modules() -> dict[str, ModuleType]:
    """Return the modules of the program's own, by their files."""
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if isinstance(file, str) and file.endswith(".py") and is_own(file):
            found[file] = module
    return found


def bound_in(body: ast.ClassDef, word: str) -> int:
    """Return the first line of a class that binds an attribute, of itself or of its objects."""
    lines = [
        node.lineno
        for node in ast.walk(body)
        if isinstance(node, ast.Name | ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and getattr(node, "attr", "") == word
    ]
    lines += [
        statement.lineno
        for statement in body.body
        for target in getattr(statement, "targets", [getattr(statement, "target", None)])
        if getattr(target, "id", "") == word
    ]
    return min(lines, default=0)


@lru_cache(256)
def nodes(file: str) -> tuple[ast.AST, ...]:
    """Return the syntax tree of a file, node by node; nothing of one that cannot be read."""
    try:
        return tuple(ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))))
    except (OSError, ValueError, SyntaxError):
        return ()


@lru_cache(256)
def additions(file: str) -> list[tuple[str, int]]:
    """Return what functions of a file add to, by the last word of its name, and at which line."""
    inside = (
        node
        for function in nodes(file)
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
