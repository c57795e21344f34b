import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from servekit.cpus import usable_cpus
from servekit.testing import patience

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

pytest_plugins = ["servekit.testing"]

WORKERS_MAX = 8
WAITING_FOLDERS = {"processes", "stores"}


# `-p no:xdist` has none; `servekit.testing`, a plugin of these tests too, answers for a service's.
@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config):
    """Tests wait more than they compute: over two workers a CPU; one where they share a Redis."""
    return 1 if "TEST_REDIS_URL" in os.environ else min(usable_cpus() * 2 + 1, WORKERS_MAX)


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Hear SIGINT, and have commands hear it: a shell ignores it for what it runs with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def demo(tmp_path) -> Path:
    """A folder of its own in which `python -m demo` finds a small service."""
    folder: Path = tmp_path / "folder of demo"
    shutil.copytree(Path(__file__).parent / "demo", folder / "demo")
    return folder


@pytest.fixture(scope="session")
def blocking_modules() -> list[str]:
    return ["servekit"]


@pytest.fixture(autouse=True)
def _no_blocking_calls(no_blocking_calls: None) -> None:
    """The library never blocks the event loop, in any test."""


def pytest_collection_modifyitems(config, items):
    """Side by side, the folders whose tests wait go first: none of them is left for the end.

    A busy machine gets more time for each test.
    """
    limit = pytest.mark.timeout(patience(float(config.getini("timeout") or 60)))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(limit)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not WAITING_FOLDERS.intersection(item.path.parts))
