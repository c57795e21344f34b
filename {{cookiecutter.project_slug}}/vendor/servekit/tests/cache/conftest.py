"""The cache of one worker."""

import pytest

from tests.stores.workers import worker


@pytest.fixture
async def cache(redis_url):
    async with worker(redis_url) as cache:
        yield cache
