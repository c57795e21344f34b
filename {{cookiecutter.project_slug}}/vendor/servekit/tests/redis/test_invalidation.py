import asyncio
import threading
import time
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RawConnectionError

from servekit.redis.clients import RedisClients
from servekit.redis.invalidation import InvalidationChannel
from servekit.testing import patience
from tests.processes.running import eventually


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


async def test_a_worker_whose_threads_compute_does_not_take_redis_for_silent(redis_url):
    silent = []
    ends = time.monotonic() + 4

    def compute() -> None:
        while time.monotonic() < ends:
            sum(range(20_000))

    async def up() -> None: ...

    async with RedisClients(redis_url) as clients:
        channel = InvalidationChannel(
            clients.invalidation_connections,
            prefix="t:",
            on_keys=lambda _: None,
            on_up=up,
            on_down=lambda: None,
            on_silent=lambda: silent.append(time.monotonic()),
            heartbeat_seconds=0.1,
        )
        running = asyncio.create_task(channel.run())
        await eventually(lambda: channel.up)
        threads = [threading.Thread(target=compute) for _ in range(30)]
        for thread in threads:
            thread.start()
        await eventually(lambda: time.monotonic() > ends)
        running.cancel()
    for thread in threads:
        thread.join()
    assert silent == []


class LateConnection:
    """Sends and receives in turns of a loop that are longer than a heartbeat each."""

    def __init__(self) -> None:
        self.pings = 0
        self.answers_after = 0
        """Turns of the loop."""

    async def send_command(self, *command: str) -> None:
        if command == ("PING",):
            self.pings += 1
            self.answers_after = 2
            self.turn()

    def turn(self) -> None:
        if self.answers_after:
            self.answers_after -= 1
            asyncio.get_running_loop().call_soon(self.turn)

    async def read_response(self, **wait: Any) -> bytes | None:
        if not wait:
            return b"OK"
        if self.answers_after:
            ends = time.monotonic() + HEARTBEAT * 2
            while time.monotonic() < ends:
                pass
            return None
        await asyncio.sleep(wait["timeout"])
        return b"PONG"

    async def disconnect(self, **_: Any) -> None: ...


HEARTBEAT = 0.01


async def test_redis_is_not_called_silent_before_the_loop_has_sent_and_read(monkeypatch):
    monkeypatch.setattr("servekit.redis.invalidation.on_invalidation", lambda *_: None)
    silent = []
    connection = LateConnection()

    async def connect():
        return [connection]

    async def up() -> None: ...

    channel = InvalidationChannel(
        connect=cast("Any", connect),
        prefix="t:",
        on_keys=lambda _: None,
        on_up=up,
        on_down=lambda: None,
        on_silent=lambda: silent.append(1),
        heartbeat_seconds=HEARTBEAT,
    )
    running = asyncio.create_task(channel.run())
    await eventually(lambda: connection.pings > 3)
    running.cancel()
    await asyncio.wait([running])
    assert silent == []
