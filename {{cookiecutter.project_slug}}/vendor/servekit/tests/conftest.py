import os
from collections.abc import Iterator

import pytest
import redis.asyncio
import uvloop
from blockbuster import BlockBuster, BlockBusterFunction

from servekit.cpus import usable_cpus
from servekit.redis.embedded import EmbeddedServer

WORKERS_MAX = 8
WAITING_FOLDERS = {"processes", "stores"}
BLOCKING_CALLS = ("time.sleep", "socket.", "ssl.", "sqlite3.")


def pytest_xdist_auto_num_workers(config):
    """Tests wait more than they compute: over two workers a CPU; one where they share a Redis."""
    return 1 if "TEST_REDIS_URL" in os.environ else min(usable_cpus() * 2 + 1, WORKERS_MAX)


def pytest_collection_modifyitems(config, items):
    """Side by side, the folders whose tests wait go first: none of them is left for the end."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: not WAITING_FOLDERS.intersection(item.path.parts))


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def blocking_calls() -> list[BlockBusterFunction]:
    """Return the functions that block: built once, as that takes longer than many a test."""
    functions = BlockBuster("servekit").functions.items()
    blocking = [function for name, function in functions if name.startswith(BLOCKING_CALLS)]
    for function in blocking:
        # Fixtures start it inside a running loop; the service never does.
        function.can_block_in("redis/embedded.py", {"__enter__", "__exit__"})
    return blocking


@pytest.fixture(autouse=True)
def no_blocking_calls(blocking_calls: list[BlockBusterFunction]) -> Iterator[None]:
    """Fail where the service's code sleeps, or waits for a socket or SQLite, on the event loop.

    Reading a small file or taking a free lock is over in microseconds, and allowed.
    """
    for function in blocking_calls:
        function.activate()
    yield
    for function in blocking_calls:
        function.deactivate()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """A real Valkey of this session's own."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest) -> str:
    """An empty Redis: the one of TEST_REDIS_URL, or one of our own."""
    url = os.environ.get("TEST_REDIS_URL") or request.getfixturevalue("redis_server").url
    async with redis.asyncio.from_url(url) as client:
        await client.flushall()
    return str(url)
