"""The worker's own copies of sessions, used only while invalidations are proven to arrive."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from cachebox import LRUCache

from servekit.redis.clients import RedisClients
from servekit.redis.invalidation import InvalidationChannel, ReadFence, ReadFences
from servekit.sessions.record import SessionRecord

RECORD_BYTES = 1000
"""About what a record costs beside its data: the object, its key and its place in the table."""

FIELD_BYTES = 150
"""What a field costs beside its texts."""

Copy = tuple[SessionRecord, float]
"""A record and when Redis ends it, in seconds of the monotonic clock."""


class LocalRecords:
    """Records as Redis has them; a write by anyone drops its record here within milliseconds.

    When the invalidation channel is not proven within a second (cut off, silent, or this worker
    stood still), there are none here and every read goes to Redis.
    """

    def __init__(self, clients: RedisClients, *, prefix: str, limit_bytes: int) -> None:
        self._cut = len(prefix)
        self._limit_bytes = limit_bytes
        self._seconds_max = clients.copy_seconds_max
        self._fences = ReadFences()
        # 0 would mean "no bound" to cachebox.
        self._copies: LRUCache[str, Copy] = LRUCache(
            max(limit_bytes, 1), getsizeof=lambda _, copy: size_of(copy[0])
        )
        self._recovered = clients.recovered
        self._channel = InvalidationChannel(
            clients.invalidation_connections,
            prefix=prefix,
            on_keys=self._on_invalidations,
            on_up=self._restart,
            on_down=self.clear,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._limit_bytes:
            self._task = asyncio.get_running_loop().create_task(self._channel.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def coherent(self) -> bool:
        """Whether copies may be used."""
        return time.monotonic() < self._channel.proven_until

    @property
    def size_bytes(self) -> int:
        return self._copies.current_size()

    def get(self, ref: str) -> SessionRecord | None:
        """Return a record that lives in Redis, as far as is proven, or None: ask Redis."""
        copy: Copy | None = self._copies.get(ref, None)
        now = time.monotonic()
        if copy is None or now >= copy[1] or now >= self._channel.proven_until:
            return None
        return copy[0]

    def begin_read(self, ref: str) -> ReadFence:
        """Fence a read of a record, before it is sent; finish with `end_read`."""
        return self._fences.begin(ref)

    def fill(
        self, fence: ReadFence, record: SessionRecord, *, sent_at: float, ttl_seconds: float
    ) -> None:
        """Keep what was read behind the fence, unless it was written in between.

        Redis ends the session `ttl_seconds` after the read was sent, if nobody writes before.
        """
        if self._channel.up and not fence.invalidated and size_of(record) <= self._limit_bytes:
            self._copies[fence.key] = (record, sent_at + min(ttl_seconds, self._seconds_max))

    def end_read(self, fence: ReadFence) -> None:
        self._fences.end(fence)

    def invalidate(self, ref: str) -> None:
        """Drop a record, and whatever is being read for it."""
        self._fences.invalidate(ref)
        self._copies.pop(ref, None)

    def clear(self) -> None:
        self._fences.invalidate_all()
        self._copies.clear()

    def _on_invalidations(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self.clear()
            return
        for key in keys:
            self.invalidate(key[self._cut :].decode(errors="replace"))

    async def _restart(self) -> None:
        await self._recovered()
        self.clear()


def size_of(record: SessionRecord) -> int:
    """Return about how many bytes a record takes."""
    texts = sum(len(name) + len(text) + FIELD_BYTES for name, text in record.data.items())
    return RECORD_BYTES + texts
