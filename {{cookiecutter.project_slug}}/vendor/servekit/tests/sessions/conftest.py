"""An application with sessions, in Redis."""

import pytest

from tests.redis.patient import patient_clients
from tests.sessions.application import Service
from tests.stores.workers import until


@pytest.fixture
async def clients(redis_url):
    async with patient_clients(redis_url) as clients:
        yield clients


@pytest.fixture
async def service(clients):
    """A service as a worker has it, with copies of its own."""
    service = Service(clients)
    async with service.store:
        await until(lambda: service.store.coherent)
        yield service
