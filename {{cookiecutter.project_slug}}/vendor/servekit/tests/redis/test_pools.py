from types import SimpleNamespace

import pytest
from prometheus_client import Histogram
from redis.asyncio.sentinel import MasterNotFoundError

from servekit.redis.pools import BoundedSentinelPool


class Sentinel:
    """One that gives a fixed answer."""

    def __init__(self, answer):
        self.answer = answer

    async def execute_command(self, *command):
        assert command == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def pool(*answers):
    bounds = {"max_connections": 1, "wait_seconds_max": 1, "age_seconds_max": 1}
    manager = SimpleNamespace(sentinels=[Sentinel(answer) for answer in answers])
    wait = Histogram("wait", "Unused.", registry=None)
    return BoundedSentinelPool("main", manager, wait=wait, **bounds)


async def test_the_first_sentinel_that_knows_the_primary_names_it():
    down, ignorant, knows = ConnectionRefusedError(), None, [b"10.0.0.7", b"6379"]

    assert await pool(down, ignorant, knows).get_master_address() == ("10.0.0.7", 6379)


async def test_no_sentinel_that_knows_is_an_error_of_the_connection():
    with pytest.raises(MasterNotFoundError):
        await pool(TimeoutError(), None).get_master_address()
