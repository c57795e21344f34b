"""The wall between the two parts: a service imports public names, the library nothing of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from render import ROOT, SERVICE

PROJECT = ROOT / SERVICE
LIBRARY = PROJECT / "vendor" / "servekit"
PACKAGE = LIBRARY / "src" / "servekit"
FOLDERS = ("src/service", "tests")
"""What the user's own code is; it imports of the library what everybody may."""

PUBLIC = ("cache", "offload", "problems", "sessions", "sql", "testing", "throttle", "upstream")


def imports(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield file, module and name of each import; the name is empty where all of it is meant."""
    for file in sorted(folder.rglob("*.py")):
        place = str(file.relative_to(PROJECT))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((place, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((place, node.module, alias.name) for alias in node.names)


def public_names(module: str) -> set[str]:
    """Return what `__all__` says of a public module, read and not imported."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


NAMES = {
    module: public_names(module)
    for module in ("servekit", *(f"servekit.{name}" for name in PUBLIC))
}


def is_public(module: str, name: str) -> bool:
    if f"{module}.{name}" in NAMES or (module in NAMES and not name):
        return True
    return name in NAMES.get(module, ())


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_service_imports_public_names_only(folder):
    ours = [found for found in imports(PROJECT / folder) if found[1].split(".")[0] == "servekit"]
    assert ours
    assert [found for found in ours if not is_public(*found[1:])] == []


@pytest.mark.parametrize(
    "folder", ["src", "tests", "chaos", "bench", "conformance", "doctor_matrix"]
)
def test_the_library_imports_nothing_of_the_service(folder):
    found = imports(LIBRARY / folder)
    assert [place for place, module, _ in found if module.split(".")[0] == "service"] == []
