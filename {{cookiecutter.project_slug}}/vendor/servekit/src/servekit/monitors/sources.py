"""What a source file binds, and what its functions add to: the little that is kept of its tree."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from servekit.syntax import last_word, parsed

ADDING = re.compile("add|append(left)?|extend(left)?|insert|put(_nowait)?|setdefault|update")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MODULE = ""


@dataclass(frozen=True)
class Addition:
    """A line that adds to something with a name."""

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


@dataclass
class Source:
    """Lines of a file, each the first of its kind."""

    names: dict[str, int] = field(default_factory=dict)
    """By `name`, or `Class.name`, of what statements bind in the module and in what it defines."""
    attributes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By class and attribute, of the class or of its objects."""
    states: dict[str, int] = field(default_factory=dict)
    """By attribute that is set on something's `state`."""
    additions: defaultdict[str, list[Addition]] = field(default_factory=lambda: defaultdict(list))
    """By the last word of what functions add to: all of them, in order."""


def read(file: str) -> Source:
    """Return what a file binds and adds to; nothing of one that is gone or no Python."""
    tree = parsed(file)
    source = Source(names=dict(reversed([*bound(tree.body)])))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for attribute, line in sorted(attributes_of(node), key=by_line):
                source.attributes.setdefault((node.name, attribute), line)
        elif isinstance(node, ast.Attribute) and is_set(node) and last_word(node.value) == "state":
            source.states.setdefault(node.attr, node.lineno)
        if isinstance(node, ast.Module | ast.ClassDef):
            for function in node.body:
                if isinstance(function, FUNCTIONS):
                    note_additions(function, source)
    for additions in source.additions.values():
        additions.sort(key=line_of)
    return source


def bound(body: Iterable[ast.stmt], within: str = "") -> Iterator[tuple[str, int]]:
    """Yield what statements bind, and in what they define: the dotted name and the line."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{within}{statement.name}", statement.lineno
            yield from bound(statement.body, f"{within}{statement.name}.")
            continue
        for block in blocks(statement):
            yield from bound(block, within)
        for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
            for node in ast.walk(target) if target else ():
                if isinstance(node, ast.Name) and is_set(node):
                    yield f"{within}{node.id}", statement.lineno


def blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the statements within one such as `if` or `try`, block by block."""
    for block in ("body", "orelse", "finalbody"):
        yield getattr(statement, block, [])
    for case in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield case.body


def attributes_of(body: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """Yield the attributes that a class binds, of itself or of its objects, with their lines."""
    for name, line in bound(body.body):
        if "." not in name:
            yield name, line
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and is_set(node):
            yield node.attr, node.lineno


def is_set(named: ast.Name | ast.Attribute) -> bool:
    """Tell whether a name or an attribute is given a value there."""
    return isinstance(named.ctx, ast.Store)


def note_additions(function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> None:
    """Note what a function and those in it add to."""
    variables = variables_of(function)
    for node in ast.walk(function):
        for target in added(node):
            word = last_word(target)
            is_attribute = isinstance(target, ast.Attribute)
            source.additions[word].append(
                Addition(target.lineno, is_attribute, function.name, word in variables)
            )


def variables_of(function: ast.AST) -> set[str]:
    """Return the variables of a function and of those in it, but for those it says are others'."""
    nodes = list(ast.walk(function))
    named = {node.id for node in nodes if isinstance(node, ast.Name) and is_set(node)}
    named |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return named - {name for node in nodes if isinstance(node, ast.Global) for name in node.names}


def added(node: ast.AST) -> list[ast.Name | ast.Attribute]:
    """Return what a piece of code adds to."""
    into: list[ast.expr] = []
    match node:
        case ast.Assign(targets=targets):
            into = [target.value for target in targets if isinstance(target, ast.Subscript)]
        case ast.AugAssign(target=ast.Subscript(value=target)) | ast.AugAssign(target=target):
            into = [target]
        case ast.Call(func=ast.Attribute(value=target, attr=how)) if ADDING.fullmatch(how):
            into = [target]
    return [target for target in into if isinstance(target, ast.Name | ast.Attribute)]


def by_line(pair: tuple[str, int]) -> int:
    """Return what names with their lines are sorted by."""
    return pair[1]


def line_of(addition: Addition) -> int:
    """Return what additions are sorted by."""
    return addition.line
