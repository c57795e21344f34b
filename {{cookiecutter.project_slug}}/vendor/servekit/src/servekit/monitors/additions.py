"""Where the program's own source binds what names hold, and where it adds to it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from servekit.own_code import is_own

LAST_WORD = re.compile(r"(\w+)(?:\[[^\]]*\])*$")
ADDING = re.compile("add|append(left)?|extend(left)?|insert|put(_nowait)?|setdefault|update")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OF_FUNCTION = re.compile(r"(\w+)(?:\.<locals>[\w.<>]*)? (?:closure|default|local) ")
MODULE = ""
STATE = re.compile(r"(?:.* )?app\.state\.(\w+)")


def added_at(name: str, place: str) -> list[str]:
    """Return as `file:line` where own functions add to what a name holds that is bound at a place.

    A variable of a closure counts in the function around it, an attribute wherever the file of the
    place adds to one called so, a module's name also where others have imported it.
    """
    file = place.rpartition(":")[0]
    found = LAST_WORD.search(name)
    if not (found and file and is_own(file)):
        return []
    word, modules = found[1], own_modules()
    here = vars(modules[file]) if file in modules else {}
    of_function = OF_FUNCTION.search(name)
    around = of_function and of_function[1]
    files = [file]
    if around is not None:  # by the name that the module has for it, which may be another
        around = str(getattr(here.get(around), "__qualname__", around)).partition(".")[0]
    elif STATE.fullmatch(name):
        files += modules
    elif name.partition("[")[0] == f"{here.get('__name__')}.{word}":
        files += [each for each in modules if vars(modules[each]).get(word) is here.get(word)]
        around = MODULE
    return [
        f"{each}:{one.line}"
        for each in dict.fromkeys(files)
        for one in additions(each)
        if one.word == word and one.is_to(around)
    ]


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


@lru_cache(1)  # ten times as large as the file, and the child has little room
def nodes(file: str) -> tuple[ast.AST, ...]:
    """Return the syntax tree of a file, node by node; nothing of one that cannot be read."""
    try:
        return tuple(ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ()


@dataclass(frozen=True)
class Addition:
    """A line that adds to something, by the last word of its name."""

    word: str
    line: int
    is_attribute: bool
    around: str
    """The outermost function that the line is in."""
    is_local: bool
    """Whether a function around it has a variable called so."""

    def is_to(self, function: str | None) -> bool:
        """Tell whether it may be to a variable of a function, of a module (""), or an attribute."""
        if function is None or self.is_attribute:
            return function is None and self.is_attribute
        return not self.is_local if function == MODULE else self.around == function


@lru_cache(256)
def additions(file: str) -> list[Addition]:
    """Return what functions of a file add to."""
    outermost = (
        node
        for block in nodes(file)
        if isinstance(block, ast.Module | ast.ClassDef)
        for node in block.body
        if isinstance(node, FUNCTIONS)
    )
    found = {
        Addition(target[0], target[1], target[2], function.name, target[0] in locals_of(function))
        for function in outermost
        for node in ast.walk(function)
        for target in added(node)
    }
    return sorted(found, key=by_line)


def locals_of(function: ast.AST) -> set[str]:
    """Return the variables of a function and of those in it, but for those it says are others'."""
    nodes = list(ast.walk(function))
    bound = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.arg for node in nodes if isinstance(node, ast.arg)}
    others = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return bound - others


def by_line(addition: Addition) -> int:
    """Return what additions are sorted by."""
    return addition.line


def added(node: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Yield what a piece of code adds to, its line, and whether it is an attribute."""
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
            yield target.id, target.lineno, False
        elif isinstance(target, ast.Attribute):
            yield target.attr, target.lineno, True
