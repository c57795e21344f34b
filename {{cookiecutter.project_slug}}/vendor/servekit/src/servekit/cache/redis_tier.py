"""The tier in Redis: entries, the leases of their loads, and removal by key or pattern."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from servekit.breaker import CLOSED
from servekit.cache.batched_reads import BatchedReads
from servekit.cache.keys import KeySpace
from servekit.redis.clients import RedisClients

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

BATCH = 500

WRITE = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
"""

WRITE_LEASED = """
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
"""

RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])"

RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"


class RedisTier:
    """Entries as bytes. Every method may raise StoreUnavailable.

    Removing or overwriting an entry also ends the lease of a load that is under way, so that what
    it read before cannot be written after. An entry and its lease share a slot of a Cluster.
    """

    def __init__(self, clients: RedisClients, keys: KeySpace, *, lease_seconds: float) -> None:
        self._clients = clients
        self._keys = keys
        self._lease_ms = int(lease_seconds * 1000)
        self._reads = BatchedReads(self._get_all)
        self._scripts: dict[str, AsyncScript] = {}

    @property
    def answering(self) -> bool:
        """Whether Redis is believed to answer: its breaker is closed."""
        return self._clients.breakers["cache"].state == CLOSED

    async def get(self, key: str) -> bytes | None:
        return await self._reads.get(self._keys.entry(key))

    async def read(self, keys: Sequence[str], tags: Sequence[str]) -> list[bytes | None]:
        """Return the entries of the keys, then the versions of the tags, in one round trip."""
        names = [self._keys.entry(key) for key in keys] + [self._keys.tag(tag) for tag in tags]
        return await self._get_all(names)

    async def set(self, key: str, data: bytes, *, ttl_seconds: float) -> None:
        await self._run(WRITE, self._pair(key), data, _milliseconds(ttl_seconds))

    async def set_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """Write entries, each with its time to live in seconds."""
        if self._clients.is_cluster:
            writes = [self.set(key, data, ttl_seconds=ttl) for key, (data, ttl) in entries.items()]
            await asyncio.gather(*writes)
            return
        async with self._clients.cache.pipeline(transaction=False) as pipeline:
            for key, (data, ttl_seconds) in entries.items():
                pipeline.set(self._keys.entry(key), data, px=_milliseconds(ttl_seconds))
                pipeline.delete(self._keys.lease(key))
            await pipeline.execute()

    async def set_leased(self, key: str, data: bytes, token: bytes, *, ttl_seconds: float) -> bool:
        """Write what was loaded under the lease; return False if the lease ended meanwhile."""
        milliseconds = _milliseconds(ttl_seconds)
        return bool(await self._run(WRITE_LEASED, self._pair(key), data, milliseconds, token))

    async def lease(self, key: str) -> bytes | None:
        """Return a token, or None while someone else loads the key."""
        token = secrets.token_bytes(12)
        taken = await self._clients.cache.set(
            self._keys.lease(key), token, nx=True, px=self._lease_ms
        )
        return token if taken else None

    async def renew(self, key: str, token: bytes) -> bool:
        return bool(await self._run(RENEW, [self._keys.lease(key)], token, self._lease_ms))

    async def release(self, key: str, token: bytes) -> None:
        await self._run(RELEASE, [self._keys.lease(key)], token)

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove entries, in batches."""
        if self._clients.is_cluster:
            # As a plain command: the method would make a pipeline of it, past the guard.
            unlink = partial(self._clients.cache.execute_command, "UNLINK")
            await asyncio.gather(*(unlink(*self._pair(key)) for key in keys))
            return
        names = [name for key in keys for name in self._pair(key)]
        for start in range(0, len(names), BATCH):
            await self._clients.cache.unlink(*names[start : start + BATCH])

    async def scan(self, pattern: str) -> AsyncIterator[list[str]]:
        """Yield the keys that match a glob pattern, in batches; one written meanwhile may miss."""
        batch: list[str] = []
        # One server's cursor, or every primary's: redis-py walks both the same way.
        async for raw in self._clients.cache.scan_iter(
            match=self._keys.entry(pattern), count=BATCH
        ):
            batch.append(self._keys.split(raw)[1])
            if len(batch) >= BATCH // 2:
                yield batch
                batch = []
        if batch:
            yield batch

    async def new_tag_version(self, tag: str, *, ttl_seconds: int) -> bytes:
        """Give the tag a version it never had."""
        version = secrets.token_bytes(8)
        await self._clients.cache.set(self._keys.tag(tag), version, ex=ttl_seconds)
        return version

    async def first_tag_version(self, tag: str, *, ttl_seconds: int) -> bytes:
        """Return the tag's version; give it one if it has none."""
        name, version = self._keys.tag(tag), secrets.token_bytes(8)
        if await self._clients.cache.set(name, version, nx=True, ex=ttl_seconds):
            return version
        return cast("bytes | None", await self._clients.cache.get(name)) or version

    def _pair(self, key: str) -> list[str]:
        return [self._keys.entry(key), self._keys.lease(key)]

    async def _get_all(self, names: list[str]) -> list[bytes | None]:
        client: Any = self._clients.cache
        if len(names) == 1:
            return [await client.get(names[0])]
        if self._clients.is_cluster:
            return list(await asyncio.gather(*(client.get(name) for name in names)))
        return cast("list[bytes | None]", await client.mget(names))

    async def _run(self, text: str, keys: list[str], *arguments: Any) -> Any:
        script = self._scripts.get(text)
        if script is None:
            script = self._scripts[text] = self._clients.cache.register_script(text)
        return await script(keys=keys, args=arguments)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
