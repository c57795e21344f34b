"""Tests that fail where code blocks the event loop."""

from __future__ import annotations

import importlib.util
import sysconfig
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from blockbuster import BlockBusterFunction

BLOCKING_CALLS = ("time.sleep", "socket.", "ssl.", "sqlite3.")
NOT_OURS = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), "<", __file__)


@pytest.fixture(scope="session")
def blocking_modules() -> list[str]:
    """The packages that `no_blocking_calls` looks at; define your own for other names."""
    return [name for name in ("servekit", "service") if importlib.util.find_spec(name)]


@pytest.fixture(scope="session")
def blocking_calls(blocking_modules: list[str]) -> list[BlockBusterFunction]:
    """Return the functions that block: built once, as that takes longer than many a test."""
    import blockbuster  # a development dependency, for those who ask for this

    functions = blockbuster.BlockBuster(
        blocking_modules, excluded_modules=["servekit.testing", "servekit.redis.embedded"]
    ).functions
    return [function for name, function in functions.items() if name.startswith(BLOCKING_CALLS)]


@pytest.fixture
def no_blocking_calls(blocking_calls: list[BlockBusterFunction]) -> Iterator[None]:
    """Fail where code sleeps, or waits for a socket or SQLite, on the event loop.

    The call raises, and what catches that does not hide it: a route's 500 fails the test at its
    end too. Reading a small file or taking a free lock is over in microseconds, and allowed. Ask
    for it in one test, or in all by `pytestmark = pytest.mark.usefixtures("no_blocking_calls")`.
    """
    from blockbuster import BlockingError

    seen: list[str] = []

    class SeenBlockingError(BlockingError):
        def __init__(self, function: str) -> None:
            super().__init__(function)
            seen.append(f"{self} at {caller()}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blockbuster.blockbuster.BlockingError", SeenBlockingError)
        for function in blocking_calls:
            function.activate()
        yield
        for function in blocking_calls:
            function.deactivate()
    if seen:
        pytest.fail("\n".join(["The event loop was blocked.", *seen]), pytrace=False)


def caller() -> str:
    """Return the innermost line that is neither of an installed package nor of Python's own."""
    ours = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(NOT_OURS)]
    return f"{ours[-1].filename}:{ours[-1].lineno} in {ours[-1].name}" if ours else "unknown"
