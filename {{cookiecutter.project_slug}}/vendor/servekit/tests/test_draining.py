import asyncio

import pytest

from servekit import drain_begins
from servekit.draining import Draining
from servekit.scope import current_service
from servekit.testing import patience


class Service:
    def __init__(self) -> None:
        self.draining = Draining()


async def test_a_stream_can_wait_for_the_end_of_its_worker():
    service = Service()
    token = current_service.set(service)
    try:
        waiting = asyncio.create_task(drain_begins())
        await asyncio.sleep(0)
        assert not waiting.done()
        service.draining.begin()
        async with asyncio.timeout(patience(1)):
            await waiting
            await drain_begins()  # it has begun, for good
    finally:
        current_service.reset(token)


async def test_without_a_service_there_is_nothing_to_wait_for():
    with pytest.raises(LookupError, match="drain_begins"):
        await drain_begins()


def test_one_service_may_serve_on_one_loop_after_another():
    draining = Draining()

    async def wait_in_vain():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await draining.begins()

    asyncio.run(wait_in_vain())
    asyncio.run(wait_in_vain())
