from collections.abc import Iterator

import pytest
import redis.asyncio
import uvloop

from service.stores.embedded import EmbeddedServer


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """A real Valkey; each test that asks for `redis_url` finds it empty."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def redis_url(redis_server: EmbeddedServer) -> str:
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    return redis_server.url
