"""Which sessions a user has: a sorted set of references by the time of login."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from servekit.redis.clients import RedisClients
from servekit.sessions.record import SessionInfo, moment, user_of
from servekit.sessions.scripts import ENROL

UNCOUNTED = 32
"""References without a limit of which none is looked at; of more, those of dead sessions go."""
LOOKED_AT = 256
"""So many of them with each login, the oldest first."""
SHOWN = ("user", "device", "created", "used")


class SessionIndex:
    """Says where a user's sessions are, not whether they live: that only their records say.

    It is written after a session and before its id leaves the service, so an id that anyone holds
    is always listed; entries of sessions that ended by themselves are dropped when met.
    """

    def __init__(
        self,
        clients: RedisClients,
        *,
        record_prefix: str,
        absolute_ms: int,
        limit: int,
        on_end: Callable[[str], None],
    ) -> None:
        self._clients = clients
        self._record_prefix = record_prefix
        self._prefix = clients.prefix("session-user")
        self._absolute_ms = absolute_ms
        self._limit = limit
        self._on_end = on_end

    async def enrol(self, user_id: str, ref: str) -> int:
        """Add a session and end the oldest ones over the limit; return how many that were."""
        members = await ENROL(self._client, self._prefix + user_id, ref, self._absolute_ms)
        if len(members) <= (self._limit or UNCOUNTED):
            return 0
        older = [member.decode() for member in members if member != ref.encode()]
        older = older[: None if self._limit else LOOKED_AT]
        exists = await self._each(older, "EXISTS")
        dead = {each for each, alive in zip(older, exists, strict=True) if not alive}
        living = [each for each in older if each not in dead]
        oldest = living[: -(self._limit - 1) or None] if 0 < self._limit <= len(living) else []
        await self._end(user_id, oldest)
        await self._forget(user_id, [*dead])
        return len(oldest)

    async def infos(self, user_id: str) -> list[SessionInfo]:
        """Return the live ones, oldest login first."""
        refs = await self._refs(user_id)
        records = await self._each(refs, "HMGET", *SHOWN)
        shown: list[SessionInfo] = []
        dead: list[str] = []
        for ref, (user, device, created, used) in zip(refs, records, strict=True):
            if user_of(user) == user_id and created and used:
                device_text = (device or b"").decode()
                shown.append(SessionInfo(ref, device_text, moment(created), moment(used)))
            else:
                dead.append(ref)
        await self._forget(user_id, dead)
        return shown

    async def holds(self, user_id: str, ref: str) -> bool:
        return await self._client.zscore(self._prefix + user_id, ref) is not None

    async def remove(self, user_id: str, ref: str) -> None:
        await self._forget(user_id, [ref])

    async def clear(self, user_id: str, *, keep: str | None) -> int:
        """End all, but for `keep`; return how many lived."""
        return await self._end(user_id, [ref for ref in await self._refs(user_id) if ref != keep])

    async def _refs(self, user_id: str) -> list[str]:
        members = await self._client.zrange(self._prefix + user_id, 0, -1)
        return [member.decode() for member in members]

    async def _end(self, user_id: str, refs: Sequence[str]) -> int:
        # The records first: should this stop half-way, none is left that the index does not name.
        try:
            ended = await self._each(refs, "DEL")
        finally:
            for ref in refs:
                self._on_end(ref)
        await self._forget(user_id, refs)
        return sum(ended)

    async def _forget(self, user_id: str, refs: Sequence[str]) -> None:
        if refs:
            await self._client.zrem(self._prefix + user_id, *refs)

    async def _each(self, refs: Sequence[str], command: str, *more: str) -> list[Any]:
        """Run a command on every record, in one round trip where they live on one server."""
        keys = [self._record_prefix + ref for ref in refs]
        if self._clients.is_cluster:  # whose pipelines keep no budget
            run = self._client.execute_command
            return [*await asyncio.gather(*(run(command, key, *more) for key in keys))]
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.execute_command(command, key, *more)
        results: list[Any] = await pipeline.execute() if keys else []
        return results

    @property
    def _client(self) -> Any:
        return self._clients.sessions
