"""The worker's own copies of sessions, used only while every write is told and proven to be."""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType
from typing import Self

from cachebox import LRUCache

from servekit.redis.clients import RedisClients
from servekit.redis.invalidation import InvalidationChannel
from servekit.redis.marks import Mark, Marks
from servekit.sessions.record import SessionRecord

RECORD_BYTES = 1000
"""About what a record costs beside its data: the object, its key and its place in the table."""

FIELD_BYTES = 150
"""What a field costs beside its texts."""

MOVING_SECONDS = 1.0
"""Life of a copy where keys may move, on a Cluster or by Sentinel, to a server not followed yet."""

Held = tuple[SessionRecord, float]
"""A record and when Redis ends it, in seconds of the monotonic clock."""


class LocalRecords:
    """Records as Redis has them; a write by anyone drops its record here within milliseconds.

    When Redis has not proven for a second that it tells of all writes (cut off, silent, or this
    worker stood still), nothing is found here and every read goes to Redis.
    """

    def __init__(self, clients: RedisClients, *, prefix: str, limit_bytes: int) -> None:
        self._cut = len(prefix)
        self._limit_bytes = limit_bytes
        self._seconds_max = MOVING_SECONDS if clients.may_move else math.inf
        self._marks = Marks()
        # 0 would mean "no bound" to cachebox.
        self._held: LRUCache[str, Held] = LRUCache(
            max(limit_bytes, 1), getsizeof=lambda _, held: size_of(held[0])
        )
        self._recovered = clients.recovered
        self._channel = InvalidationChannel(
            clients.invalidation_connections,
            prefix=prefix,
            on_keys=self._told,
            on_up=self._begin_anew,
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
        """Whether records may be found here."""
        return time.monotonic() < self._channel.proven_until

    @property
    def size_bytes(self) -> int:
        return self._held.current_size()

    def find(self, ref: str) -> SessionRecord | None:
        """Return a record that lives in Redis, as far as is proven, or None: ask Redis."""
        held: Held | None = self._held.get(ref, None)
        now = time.monotonic()
        if held is None or now >= held[1] or now >= self._channel.proven_until:
            return None
        return held[0]

    def begin(self, ref: str) -> Mark:
        """Note that a record is being read, before it is; finish with `end`."""
        return self._marks.begin(ref)

    def keep(self, mark: Mark, record: SessionRecord, *, asked_at: float, seconds: float) -> None:
        """Keep what was asked for under the mark, unless it was written in between.

        Redis ends the session `seconds` later, if nobody writes before.
        """
        if self._channel.up and not mark.spoiled and size_of(record) <= self._limit_bytes:
            self._held[mark.name] = (record, asked_at + min(seconds, self._seconds_max))

    def end(self, mark: Mark) -> None:
        self._marks.end(mark)

    def drop(self, ref: str) -> None:
        """Forget a record, and whatever is being read for it."""
        self._marks.spoil(ref)
        self._held.pop(ref, None)

    def clear(self) -> None:
        self._marks.spoil_all()
        self._held.clear()

    def _told(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self.clear()
            return
        for key in keys:
            self.drop(key[self._cut :].decode(errors="replace"))

    async def _begin_anew(self) -> None:
        await self._recovered()
        self.clear()


def size_of(record: SessionRecord) -> int:
    """Return about how many bytes a record takes."""
    texts = sum(len(name) + len(text) + FIELD_BYTES for name, text in record.data.items())
    return RECORD_BYTES + texts
