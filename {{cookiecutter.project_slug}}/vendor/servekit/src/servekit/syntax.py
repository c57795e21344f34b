"""The program's own source as syntax, where its files are at hand."""

from __future__ import annotations

import ast
from pathlib import Path


def parsed(file: str) -> ast.Module:
    """Return the syntax tree of a file, ten times as large as it; empty if it cannot be read."""
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.Module([], [])


def last_word(expression: ast.AST) -> str:
    """Return the name or the attribute that an expression ends with, "" of any other."""
    return getattr(expression, "attr", "") or getattr(expression, "id", "")
