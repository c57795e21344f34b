import pytest

pytest_plugins = ["servekit.testing"]

WAITING_FOLDERS = {"processes", "stores"}


@pytest.fixture(scope="session")
def blocking_modules() -> list[str]:
    return ["servekit"]


@pytest.fixture(autouse=True)
def _no_blocking_calls(no_blocking_calls: None) -> None:
    """The library never blocks the event loop, in any test."""


def pytest_collection_modifyitems(config, items):
    """Side by side, the folders whose tests wait go first: none of them is left for the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not WAITING_FOLDERS.intersection(item.path.parts))
