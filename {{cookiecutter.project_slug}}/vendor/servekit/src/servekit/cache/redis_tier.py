"""The tier in Redis: entries, leases of their loads, tag versions, removal by key or pattern."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from servekit.cache.keys.space import KeySpace
from servekit.redis.clients import RedisClients
from servekit.resilience.breaker import CLOSED
from servekit.resilience.deadlines import without_deadline

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

REMOVE_BATCH = 500
READ_BATCH = 100

TAG_SECONDS = 30 * 86_400
"""Life of a tag's version; an entry that outlives its tag is a miss."""

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

    async def lease_holder(self, key: str) -> bytes | None:
        """Return the token of a lease that is held."""
        return cast("bytes | None", await self._clients.cache.get(self._keys.lease(key)))

    async def seize_lease(self, key: str) -> bytes:
        """Return a token; the one that was given before is worth nothing from now on."""
        token = secrets.token_bytes(12)
        await self._clients.cache.set(self._keys.lease(key), token, px=self._lease_ms)
        return token

    async def renew(self, key: str, token: bytes) -> bool:
        return bool(await self._run(RENEW, [self._keys.lease(key)], token, self._lease_ms))

    async def release(self, key: str, token: bytes) -> None:
        await self._run(RELEASE, [self._keys.lease(key)], token)

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove entries, in batches."""
        await self._unlink([self._pair(key) for key in keys])

    async def remove_matching(self, pattern: str) -> AsyncIterator[list[str]]:
        """Remove the entries whose keys match a glob pattern; yield their keys, in batches.

        The leases go first: a load under way has stored before that, and is found after it, or
        will not store.
        """
        async for keys in self._scan(self._keys.lease(pattern)):
            await self._unlink([[self._keys.lease(key)] for key in keys])
        async for keys in self._scan(self._keys.entry(pattern)):
            await self.remove(keys)
            yield keys

    async def _unlink(self, groups: Sequence[list[str]]) -> None:
        """Delete groups of keys, each of one slot."""
        if self._clients.is_cluster:
            # As a plain command: the method would make a pipeline of it, past the budget.
            unlink = partial(self._clients.cache.execute_command, "UNLINK")
            await asyncio.gather(*(unlink(*group) for group in groups))
            return
        names = [name for group in groups for name in group]
        for start in range(0, len(names), REMOVE_BATCH):
            await self._clients.cache.unlink(*names[start : start + REMOVE_BATCH])

    async def _scan(self, pattern: str) -> AsyncIterator[list[str]]:
        batch: list[str] = []
        # One server's cursor, or every primary's: redis-py walks both the same way.
        async for raw in self._clients.cache.scan_iter(match=pattern, count=REMOVE_BATCH):
            batch.append(self._keys.split(raw)[1])
            if len(batch) >= REMOVE_BATCH // 2:
                yield batch
                batch = []
        if batch:
            yield batch

    async def new_tag_version(self, tag: str) -> bytes:
        """Give the tag a version it never had."""
        version = secrets.token_bytes(8)
        await self._clients.cache.set(self._keys.tag(tag), version, ex=TAG_SECONDS)
        return version

    async def first_tag_version(self, tag: str) -> bytes:
        """Return the tag's version; give it one if it has none."""
        name, version = self._keys.tag(tag), secrets.token_bytes(8)
        if await self._clients.cache.set(name, version, nx=True, ex=TAG_SECONDS):
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


class BatchedReads:
    """Gathers single reads into `read_all(names)`; a worker under load needs few round trips.

    A single read is sent at once; those that come before its reply are sent together, each turn of
    the event loop. A batch runs in a task of its own: a caller who is cancelled takes nobody along.
    """

    def __init__(self, read_all: Callable[[list[str]], Awaitable[Sequence[bytes | None]]]) -> None:
        self._read_all = read_all
        self._queue: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._single_under_way = False

    async def get(self, name: str) -> bytes | None:
        """Return what `read_all` returns for the name, or raise what it raises."""
        if not self._single_under_way:  # A batch of one would only cost its task.
            self._single_under_way = True
            try:
                return (await self._read_all([name]))[0]
            finally:
                self._single_under_way = False
        loop = asyncio.get_running_loop()
        if not self._queue:
            loop.call_soon(self._send)
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._queue.append((name, future))
        return await future

    def _send(self) -> None:
        queue, self._queue = self._queue, []
        for start in range(0, len(queue), READ_BATCH):
            work = self._read(queue[start : start + READ_BATCH])
            task = asyncio.get_running_loop().create_task(work, context=without_deadline())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, batch: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        try:
            values = await self._read_all([name for name, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), data in zip(batch, values, strict=True):
                if not future.done():
                    future.set_result(data)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
