"""The public names with their signatures: `python -m tests.public_face` writes them anew."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.sources import parse

MODULES = (
    "servekit",
    "servekit.cache",
    "servekit.offload",
    "servekit.problems",
    "servekit.sessions",
    "servekit.sql",
    "servekit.throttle",
    "servekit.testing",
    "servekit.upstream",
)
PINNED = Path(__file__).parent / "public_face.txt"
SOURCE = Path(__file__).parents[1] / "src" / "servekit"


def public_face() -> str:
    """Return a line for each public name, and below a class one for each of its methods."""
    return "".join(f"{line}\n" for module in MODULES for line in lines_of(module))


def lines_of(module: str) -> Iterator[str]:
    """Yield the lines of a module's public names."""
    for name, value in public_names(module):
        if isinstance(value, type):
            yield f"{module}.{name}{constructor(value)}"
            yield from (f"    {line}" for line in members(value))
        elif is_fixture(value):
            yield f"{module}.{name}: a fixture"
        elif inspect.isroutine(value):
            yield f"{module}.{name}{signature(value)}"
        else:
            yield f"{module}.{name}: {kind(value)}"


def public_names(module: str) -> list[tuple[str, Any]]:
    """Return the public names of a module and what they are, in order."""
    found = importlib.import_module(module)
    return [(name, getattr(found, name)) for name in sorted(found.__all__)]


def is_fixture(value: object) -> bool:
    return type(value).__name__ == "FixtureFunctionDefinition"


def kind(value: object) -> str:
    """Say in a word what a name that is no function and no class stands for."""
    return "a mark" if isinstance(value, pytest.MarkDecorator) else "for annotations"


def constructor(cls: type) -> str:
    """Return how an object is made; settings and plain exceptions are made as their bases are."""
    own = cls.__dict__.get("__init__")
    if own is None or issubclass(cls, BaseModel) or getattr(cls, "_is_protocol", False):
        return f"({', '.join(base.__name__ for base in cls.__bases__ if base is not object)})"
    return signature(own)


def members(cls: type) -> Iterator[str]:
    """Yield the public methods and properties that a class of ours has."""
    for name, value in sorted(vars(cls).items()):
        if (name.startswith("_") and name != "__call__") or issubclass(cls, BaseModel):
            continue
        if isinstance(value, property):
            yield f"{name}: {signature(value.fget).partition(' -> ')[2]}"
        elif inspect.isfunction(value):
            yield f"{name}{signature(value)}"


def signature(function: Any) -> str:
    """Return parameters and result as the source says them, the same under every Python."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    node = parse(source).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    awaited = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = f" -> {awaited}{ast.unparse(node.returns)}" if node.returns else ""
    return f"({arguments}){result}"


def undocumented() -> list[str]:
    """Return the public names that have no docstring of their own."""
    described = documented_assignments()
    return [
        f"{module}.{name}"
        for module in MODULES
        for name, value in public_names(module)
        if not (own_docstring(value) or name in described)
    ]


def own_docstring(value: Any) -> str | None:
    """Return what a class or a function says of itself."""
    if isinstance(value, type):
        return value.__dict__.get("__doc__")
    return value.__doc__ if inspect.isroutine(value) else None


def documented_assignments() -> set[str]:
    """Return the names that are assigned with a string below, anywhere in the library."""
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node, following in pairwise(parse(file.read_text()).body):
            if isinstance(node, ast.Assign) and isinstance(following, ast.Expr):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


if __name__ == "__main__":
    PINNED.write_text(public_face())
