"""How long a test waits for what it drives follows the machine: `patience`, not a number."""

import ast
from collections.abc import Iterator

import pytest
from render import ROOT, SERVICE, tracked_files

TESTS = ("tests/", f"{SERVICE}/tests/", f"{SERVICE}/vendor/servekit/tests/")
WAITS = {"join", "settimeout", "timeout", "wait", "wait_for"}
NO_LIMITS = {"timeout": "mark", "connect": "sqlite3"}
"""What has such an argument and is no wait, by its function: what that belongs to."""
SHORT_SECONDS, LONG_SECONDS = 1, 60
"""What is shorter is meant to run out, what is longer is for what never ends."""


def test_no_wait_of_a_test_has_a_limit_that_is_a_number():
    found = []
    for path in tracked_files():
        if path.startswith(TESTS) and path.endswith(".py"):
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            found += [f"{path}:{limit.lineno}" for limit in limits(tree) if fixed(limit)]
    assert found == []


def limits(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what the waits and deadlines of a module are given."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Call(func=ast.Attribute(ast.Attribute(attr=owner), name))
                | ast.Call(func=ast.Attribute(ast.Name(owner), name))
            ) if NO_LIMITS.get(name) == owner:
                pass
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(name)):
                yield from (given.value for given in node.keywords if given.arg == "timeout")
                yield from node.args[-1:] if name in WAITS else ()
            case ast.Assign(targets=[ast.Name("deadline")], value=ast.BinOp(right=seconds)):
                yield seconds


def fixed(limit: ast.expr) -> bool:
    match limit:
        case ast.Constant(int() | float() as seconds):
            return SHORT_SECONDS <= seconds < LONG_SECONDS
    return False


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("deadline = time.monotonic() + 20", True),
        ("process.wait(30)", True),
        ("thread.join(2.5)", True),
        ("client.get(url, timeout=5)", True),
        ("await asyncio.wait_for(reader.readline(), 30)", True),
        ("asyncio.timeout(0.05)", False),
        ("process.wait(patience(30))", False),
        ("pytest.mark.timeout(30)", False),
    ],
)
def test_limits_are_found_wherever_they_are_written(line, refused):
    assert any(map(fixed, limits(ast.parse(line)))) is refused
