import asyncio

import pytest
from redis.exceptions import ConnectionError as RawConnectionError

from servekit.redis.invalidation import InvalidationChannel
from servekit.testing import patience


async def test_a_channel_that_fails_in_the_moment_it_is_cancelled_ends():
    following = asyncio.Event()

    async def up() -> None: ...

    async def connect():
        following.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            # As a group of tasks does, one of which has just failed.
            raise RawConnectionError("gone") from None

    channel = InvalidationChannel(
        connect=connect, prefix="t:", on_keys=lambda _: None, on_up=up, on_down=lambda: None
    )
    running = asyncio.create_task(channel.run())
    await following.wait()
    running.cancel()
    async with asyncio.timeout(patience(5)):
        with pytest.raises(asyncio.CancelledError):
            await running
