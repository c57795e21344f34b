"""What may import what: no circles, one direction between rooms, light processes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import parse

SOURCE = Path(__file__).parents[1] / "src" / "servekit"
LINES_MAX = 300

MAY_IMPORT = {
    "notation": set(),
    "configuration": {"notation", "redis"},
    "resilience": set(),
    "redis": {
        "background", "context", "errors", "foreign", "notation", "reservations", "resilience",
    },
    "routing": {"foreign", "scope"},
    "foreign": set(),
    "monitors": {
        "awaits", "background", "cpus", "lent", "own_code", "process_memory", "syntax",
        "thread_frames",
    },
    "layers": {
        "draining", "errors", "foreign", "hang_up", "notation", "own_code", "problems", "redis",
        "refusal_log", "remembered", "resilience", "routing", "scope", "unsendable",
    },
    "cache": {"context", "errors", "json_losses", "redis", "resilience", "scope"},
    "response_cache": {
        "cache", "foreign", "layers", "problems", "remembered", "routing", "scope",
    },
    "sessions": {"errors", "json_losses", "layers", "problems", "redis", "scope"},
    "sql": {"context", "lent", "notation", "own_code", "problems", "reservations", "service"},
    "upstream": {"context", "resilience"},
    "offload": {
        "children", "context", "descriptors", "hang_up", "interpreter", "logs", "parent",
        "resilience", "signals",
    },
    "admission": {"layers", "monitors", "problems", "process_memory", "refusal_log", "routing"},
    "edge": {"foreign", "hang_up", "refusal_log", "scope", "unsendable"},
    "supervisor": {
        "background", "draining", "edge", "import_string", "interpreter", "own_code", "parent",
        "process_memory", "resilience", "signals", "tuning",
    },
    "worker": {
        "awaits", "background", "children", "descriptors", "draining", "edge", "foreign",
        "import_string", "interpreter", "own_code", "parent", "process_memory", "resilience",
        "signals", "supervisor", "thread_frames", "tuning",
    },
    "admin": {"edge", "supervisor"},
    "console": {"admin", "background", "log_lines", "logs", "notation", "supervisor"},
    "diagnosis": {"admin", "notation", "own_code", "syntax"},
    "start": {
        "admin", "configuration", "console", "cpus", "diagnosis", "edge", "import_string",
        "interpreter",
        "background", "errors", "install", "layers", "logs", "monitors", "notation", "own_code",
        "redis", "routing", "service", "sql", "supervisor",
    },
    "testing": {
        "configuration", "cpus", "log_lines", "logs", "redis", "service", "sessions", "sql",
    },
}  # fmt: skip
"""For each folder the folders and loose modules that it may import, besides itself."""

EVERYBODY_MAY = {"event_log", "own_threads"}

LIGHT_PROCESSES = [
    "servekit.start.launch",
    "servekit.supervisor.supervisor",
    "servekit.worker.zygote",
    "servekit.offload.worker",
]
HEAVY = ["fastapi", "sqlalchemy"]


def name_of(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(SOURCE.rglob("*.py"))}


def imported(file: Path) -> Iterator[str]:
    """Yield every dotted name that a file imports, in functions and for type checkers too."""
    for node in ast.walk(parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_of_ours(file: Path) -> set[str]:
    """Return the modules of the library that a file imports, named without `servekit.`."""
    ours = {name.removeprefix("servekit.") for name in imported(file) if is_ours(name)}
    return {name if name in FILES else name.rpartition(".")[0] for name in ours}


def is_ours(name: str) -> bool:
    return name.startswith("servekit.")


GRAPH = {name: modules_of_ours(file) for name, file in FILES.items()}


def reachable(name: str) -> set[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        new = GRAPH.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found


def circles() -> list[set[str]]:
    """Return the groups of modules that import each other, in whatever number of steps."""
    within = {name: reachable(name) for name in GRAPH}
    groups = {
        frozenset({name, *(other for other in within[name] if name in within[other])})
        for name in GRAPH
        if name in within[name]
    }
    return sorted((set(group) for group in groups), key=sorted)


def test_no_modules_import_each_other():
    assert circles() == []


def test_every_folder_has_a_rule():
    assert set(MAY_IMPORT) == {name.split(".")[0] for name in FILES if "." in name}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_between_folders_point_one_way(folder):
    inside = {name for name in FILES if name.split(".")[0] == folder}
    used = {target.split(".")[0] for name in inside for target in GRAPH[name]}

    assert used - {folder} - EVERYBODY_MAY <= MAY_IMPORT[folder]


@pytest.mark.parametrize("lower", ["edge", "monitors", "redis", "routing", "foreign"])
def test_the_lower_rooms_know_nothing_of_workers_admission_and_the_composition(lower):
    targets = set().union(*(reachable(name) for name in FILES if name.startswith(f"{lower}.")))

    upper = {"workers", "admission", "admin", "service", "install", "stack", "program", "launch"}
    assert upper.isdisjoint(target.split(".")[0] for target in targets)


def test_the_library_knows_nothing_of_a_service():
    wrong = {
        f"{file.relative_to(SOURCE)}: {name}"
        for file in FILES.values()
        for name in imported(file)
        if name.split(".")[0] == "service"
    }

    assert wrong == set()


def test_what_uvicorn_keeps_in_its_modules_is_imported_in_one_place():
    wrong = {
        f"{file.relative_to(SOURCE)}: {name}"
        for file in FILES.values()
        for name in imported(file)
        if name.startswith("uvicorn.") and name not in {"uvicorn.Config", "uvicorn.Server"}
    }

    assert {entry.split(":")[0] for entry in wrong} == {"foreign/uvicorn.py"}


@pytest.mark.parametrize("module", LIGHT_PROCESSES)
def test_processes_that_run_no_application_load_no_framework(module):
    script = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True)

    assert loaded.split() == []


def test_no_module_is_longer_than_a_reader_can_hold():
    lines = {name: len(file.read_text().splitlines()) for name, file in FILES.items()}

    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}
