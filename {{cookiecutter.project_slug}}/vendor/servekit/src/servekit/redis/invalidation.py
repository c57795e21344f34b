"""Invalidations: the channel that brings them, and fences around the reads that they overtake."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RawConnectionError

from servekit.errors import reason_of
from servekit.event_log import get_logger
from servekit.foreign.redis import on_invalidation
from servekit.foreign.versions import fast_ways

log = get_logger()

TURNS = 3
"""Of the loop, in which what was asked is sent, and what was answered is read."""
FINAL_READ_SECONDS = 0.02
"""Time for a reply that lies unread in this worker, when its time was up."""
PAUSE_SECONDS_MAX = 1
"""Between two tries to connect."""

Connect = Callable[[], Awaitable[list[AbstractConnection]]]


class InvalidationChannel:
    """Server-assisted tracking (`CLIENT TRACKING ON BCAST`) on connections of its own.

    `on_up` runs before the channel counts as up and may refuse by raising; `on_keys` gets the keys
    of each write, None when the database was emptied; `on_down` runs as soon as the connection is
    lost, `on_silent` before it when Redis stopped replying. Redis is asked every
    `heartbeat_seconds`, and given up when silent for as long again. Our own writes come too: to
    filter them loses the writes of others.
    """

    def __init__(  # noqa: PLR0913 - each is a hook or a knob of its own
        self,
        connect: Connect,
        *,
        prefix: str,
        on_keys: Callable[[list[bytes] | None], None],
        on_up: Callable[[], Awaitable[None]],
        on_down: Callable[[], None],
        on_silent: Callable[[], None] = lambda: None,
        heartbeat_seconds: float = 0.5,
    ) -> None:
        self.up = False
        self.proven_until = 0.0
        """Until then (monotonic) no write that did not come yet is older than two heartbeats."""
        self._proofs: dict[AbstractConnection, float] = {}
        self._connect = connect
        self._prefix = prefix
        self._on_keys = on_keys
        self._on_up = on_up
        self._on_down = on_down
        self._on_silent = on_silent
        self._heartbeat_seconds = heartbeat_seconds
        self._pause = 0.0

    async def run(self) -> None:
        """Keep the channel up until cancelled."""
        if not fast_ways("redis"):
            return  # never up: what others write is read from Redis each time
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is run by a task
        while True:
            try:
                # Each in a task of its own: before Python 3.11.4, a group that failed leaves its
                # task marked as cancelled, and the next timeout would end it for good.
                await asyncio.create_task(self._follow())
            except* Exception as errors:  # noqa: BLE001 - whatever it was: try again
                if not self._pause:
                    log.warning(
                        "invalidation_channel_failed",
                        prefix=self._prefix,
                        error="; ".join(map(reason_of, errors.exceptions)),
                    )
            # A group that fails in the moment it is cancelled raises its errors and no more.
            if task.cancelling():
                raise asyncio.CancelledError
            self._pause = min(self._pause * 2 or 0.02, PAUSE_SECONDS_MAX)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _follow(self) -> None:
        connections: list[AbstractConnection] = []
        try:
            # A silent server lets us connect and says nothing: every step has its end.
            async with asyncio.timeout(2 * self._heartbeat_seconds):
                connections = await self._connect()
            async with asyncio.timeout(2 * self._heartbeat_seconds):
                for connection in connections:
                    sent_at = time.monotonic()
                    await self._track(connection)
                    self._prove(connection, sent_at)
                await self._on_up()
            self.up, self._pause = True, 0.0
            log.info("invalidation_channel_up", prefix=self._prefix)
            async with asyncio.TaskGroup() as listeners:
                for connection in connections:
                    listeners.create_task(self._listen(connection))
        except Exception:
            if self.up:
                log.warning("invalidation_channel_down", prefix=self._prefix)
            raise
        finally:
            self.up, self.proven_until = False, 0.0
            self._proofs.clear()
            self._on_down()
            for connection in connections:
                await connection.disconnect(nowait=True)

    async def _track(self, connection: AbstractConnection) -> None:
        async def on_push(message: list[Any]) -> list[Any]:
            self._on_keys(message[1])
            return message

        on_invalidation(connection, on_push)
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
        await connection.read_response()

    async def _listen(self, connection: AbstractConnection) -> None:
        ping_sent_at, replied = -math.inf, True
        while True:
            wait_seconds = ping_sent_at + self._heartbeat_seconds - time.monotonic()
            if wait_seconds <= 0 and replied:
                ping_sent_at, replied, wait_seconds = (
                    time.monotonic(),
                    False,
                    self._heartbeat_seconds,
                )
                await connection.send_command("PING")
            reply = await connection.read_response(timeout=max(wait_seconds, 0), push_request=True)
            late = time.monotonic() >= ping_sent_at + self._heartbeat_seconds
            if reply is None and late and not replied:
                # However late this worker is, it sends and reads what it can before it judges.
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                reply = await connection.read_response(
                    timeout=FINAL_READ_SECONDS, push_request=True
                )
                if reply is None:
                    self._on_silent()
                    raise RawConnectionError("The invalidation channel is silent.")
            if reply is not None and not isinstance(reply, list):
                replied = True
                self._prove(connection, ping_sent_at)

    def _prove(self, connection: AbstractConnection, sent_at: float) -> None:
        """Note that all writes before a command was sent have come: replies keep their order."""
        self._proofs[connection] = sent_at
        self.proven_until = min(self._proofs.values()) + 2 * self._heartbeat_seconds


class ReadFence:
    """A read under way; an invalidation of its key on the way makes what it read unfit to keep."""

    __slots__ = ("epoch", "invalidated", "key")

    def __init__(self, key: str, epoch: int = 0) -> None:
        self.key = key
        self.epoch = epoch
        self.invalidated = False


class ReadFences:
    """The reads under way by key, so that a late invalidation is never overwritten."""

    def __init__(self) -> None:
        self._fences: dict[str, set[ReadFence]] = {}

    def begin(self, key: str, epoch: int = 0) -> ReadFence:
        """Fence a read, before it is sent; finish with `end`."""
        fence = ReadFence(key, epoch)
        self._fences.setdefault(key, set()).add(fence)
        return fence

    def keys(self) -> list[str]:
        """Return what is being read."""
        return list(self._fences)

    def end(self, fence: ReadFence) -> None:
        fences = self._fences.get(fence.key)
        if fences is not None:
            fences.discard(fence)
            if not fences:
                del self._fences[fence.key]

    def invalidate(self, key: str) -> None:
        for fence in self._fences.pop(key, ()):
            fence.invalidated = True

    def invalidate_all(self) -> None:
        for key in list(self._fences):
            self.invalidate(key)
