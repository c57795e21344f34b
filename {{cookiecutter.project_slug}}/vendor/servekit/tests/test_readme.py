"""The README has a line for every public name: `python -m tests.test_readme` writes them anew."""

import ast
import importlib
import inspect
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from tests.sources import parse

README = Path(__file__).parent.parent / "README.md"
HEADING = "## The source\n"
PUBLIC = [
    "servekit",
    "servekit.cache",
    "servekit.sessions",
    "servekit.offload",
    "servekit.upstream",
    "servekit.sql",
    "servekit.throttle",
    "servekit.problems",
    "servekit.testing",
]
MODULES = [importlib.import_module(name) for name in PUBLIC if find_spec(name)]


def first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def what(module: ModuleType, name: str) -> str:
    """Return what a public name's docstring says first, on one line."""
    value = getattr(module, name)
    if isinstance(value, type) or inspect.isroutine(value):
        return first_paragraph(inspect.getdoc(value))
    return first_paragraph(documented_assignments(module).get(name))


def documented_assignments(module: ModuleType) -> dict[str, str]:
    """Return the strings that stand below assignments, in a module's file, or below its folder."""
    found: dict[str, str] = {}
    path = Path(inspect.getfile(module))
    for source in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
        body = parse(source.read_text(encoding="utf-8")).body
        for before, after in pairwise(body):
            if isinstance(before, ast.Assign) and isinstance(after, ast.Expr):
                found |= {
                    target.id: ast.literal_eval(after.value)
                    for target in before.targets
                    if isinstance(target, ast.Name) and isinstance(after.value, ast.Constant)
                }
    return found


def rows(module: ModuleType) -> dict[str, str]:
    return {name: what(module, name) for name in sorted(module.__all__)}


def section(module: ModuleType) -> str:
    lines = [f"| `{name}` | {text} |" for name, text in rows(module).items()]
    title = f"### `{module.__name__}`\n\n{first_paragraph(module.__doc__)}\n"
    return "\n".join([title, "| name | what |", "|---|---|", *lines, ""])


def rooms() -> str:
    """Return the table of the source's folders, with what each says that it holds."""
    files = sorted((README.parent / "src" / "servekit").glob("*/__init__.py"))
    texts = [(file.parent.name, ast.get_docstring(parse(file.read_text()))) for file in files]
    lines = [f"| `{name}/` | {first_paragraph(text)} |" for name, text in texts]
    return "\n".join(["| folder | what is in it |", "|---|---|", *lines, ""])


def tables() -> str:
    names = "\n".join(map(section, MODULES))
    return f"{HEADING}\n{rooms()}\n## Public names\n\n{names}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module):
    assert [name for name, text in rows(module).items() if not text] == []


def test_the_readme_has_a_line_for_every_folder_and_every_public_name():
    assert README.read_text(encoding="utf-8").endswith("\n" + tables())


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8").partition(HEADING)[0]
    README.write_text(before + tables(), encoding="utf-8")
