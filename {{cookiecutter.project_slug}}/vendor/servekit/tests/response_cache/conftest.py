"""A cached application, and a client of one worker of it."""

import pytest

from tests.response_cache.origin import Origin, worker


@pytest.fixture
def origin():
    return Origin()


@pytest.fixture
async def client(redis_url, origin):
    async with worker(redis_url, origin.app) as client:
        yield client
