"""Sessions in Redis: one hash each, an index per user, and every lifetime kept by the server."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry

from servekit.redis.clients import RedisClients
from servekit.redis.script import Script
from servekit.sessions.cookie import SessionSigner, SessionToken
from servekit.sessions.index import SessionIndex
from servekit.sessions.local_records import LocalRecords
from servekit.sessions.metrics import SessionMetrics
from servekit.sessions.record import Changes, SessionInfo, SessionRecord, arguments, parse
from servekit.sessions.scripts import CREATE, END, READ, ROTATE, UPDATE

TOUCHES_PER_IDLE_TIME = 30
TOUCH_SECONDS_MAX = 60.0


class SessionStore:
    """Keeps sessions; a session that exists is valid, for Redis ends it when a lifetime is over.

    While it is entered as a context, a worker answers repeated reads from its own copies, which a
    write by any worker drops; they take `local_bytes` at most, 0 keeps none. Each call touches
    single keys only, so it holds on a Cluster. A write reaches a session only while it exists: a
    logout is final whatever else runs. Any call may raise StoreUnavailable.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own
        self,
        clients: RedisClients,
        *,
        secret_keys: Sequence[str],
        idle_seconds: float = 1800,
        absolute_seconds: float = 43_200,
        limit_per_user: int = 10,
        rotation_grace_seconds: float = 10,
        local_bytes: int = 8 * 2**20,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.signer = SessionSigner(secret_keys)
        self._prefix = clients.prefix("session")
        self._local = LocalRecords(clients, prefix=self._prefix, limit_bytes=local_bytes)
        self.metrics = SessionMetrics(
            registry or CollectorRegistry(),
            channel_up=lambda: self.coherent,
            local_bytes=lambda: self._local.size_bytes,
        )
        self._loads_found, self._loads_unknown = map(
            self.metrics.loads.labels, ("found", "unknown")
        )
        self.touch_seconds = min(TOUCH_SECONDS_MAX, idle_seconds / TOUCHES_PER_IDLE_TIME)
        self._clients = clients
        self._idle_ms = int(idle_seconds * 1000)
        self._absolute_ms = int(absolute_seconds * 1000)
        self._grace_ms = int(rotation_grace_seconds * 1000)
        self._index = SessionIndex(
            clients,
            record_prefix=self._prefix,
            absolute_ms=self._absolute_ms,
            limit=limit_per_user,
            on_end=self._local.invalidate,
        )

    async def __aenter__(self) -> Self:
        await self._local.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._local.__aexit__(kind, error, trace)

    @property
    def coherent(self) -> bool:
        """Whether reads may be answered by this worker's own copies."""
        return self._local.coherent

    async def read(self, token: SessionToken) -> SessionRecord | None:
        """Return the session that a token opens, or None.

        The id before a rotation opens it for the grace time; the one before a login does not: its
        record is marked `superseded`, and is to be treated as empty.
        """
        record = visible_to(self._local.get(token.ref), token)
        if record is not None:
            self.metrics.local_hits += 1
            return record
        record = visible_to(await self._fetch(token.ref), token)
        (self._loads_found if record else self._loads_unknown).inc()
        return record

    async def _fetch(self, ref: str) -> SessionRecord | None:
        fence = self._local.begin_read(ref)
        try:
            sent_at = time.monotonic()
            ttl_ms, parts = await READ(self._client, self._prefix + ref)
            if not parts:
                return None
            record = parse(parts)
            self._local.fill(fence, record, sent_at=sent_at, ttl_seconds=ttl_ms / 1000)
            return record
        finally:
            self._local.end_read(fence)

    async def create(
        self, changes: Changes, *, user_id: str | None = None, device: str = ""
    ) -> SessionToken:
        """Store a new session and return its id; `device` is kept for `list`."""
        token = SessionToken.new()
        fields: dict[str, Any] = {"id": token.digest, "device": device}
        if user_id is not None:
            fields["user"] = user_id
        given = [part for field in fields.items() for part in field]
        _, *data = arguments({name: value for name, value in changes.items() if value is not None})
        key = self._prefix + token.ref
        await CREATE(self._client, key, self._idle_ms, self._absolute_ms, *given, *data)
        self.metrics.created.labels("anonymous" if user_id is None else "user").inc()
        return token

    async def update(self, token: SessionToken, changes: Changes) -> tuple[bool, bool]:
        """Write changed fields and note the use.

        Returns whether that was done, and whether the token is the session's current id. It is not
        done where the session is gone, or where the token opens it no longer.
        """
        code = await self._write(
            UPDATE, token.ref, self._idle_ms, token.digest, *arguments(changes)
        )
        return code > 0, code == 2  # noqa: PLR2004 - the script's own code

    async def rotate(
        self, token: SessionToken, changes: Changes, *, user_id: str | None = None
    ) -> SessionToken | None:
        """Replace a session's id, with `user_id` log it in; None when the token is not current."""
        new = token.rotated()
        lifetimes = (self._idle_ms, self._absolute_ms, self._grace_ms)
        done = await self._write(
            ROTATE,
            token.ref,
            *lifetimes,
            token.digest,
            new.digest,
            user_id or "",
            *arguments(changes),
        )
        return new if done else None

    async def login(
        self, token: SessionToken | None, user_id: str, changes: Changes, *, device: str = ""
    ) -> SessionToken:
        """Log a user in under a new id, in the session of `token` if it is theirs to take.

        The user's oldest sessions over the limit end.
        """
        if not user_id:
            raise ValueError("A login needs the user's id.")
        new = await self.rotate(token, changes, user_id=user_id) if token else None
        if new is None:
            new = await self.create(changes, user_id=user_id, device=device)
        evicted = await self._index.enrol(user_id, new.ref)
        self.metrics.revoked.labels("limit").inc(evicted)
        return new

    async def delete(self, ref: str, *, user_id: str | None, reason: str = "logout") -> bool:
        """End a session for good, whoever asks; return whether it existed."""
        try:
            existed = bool(await self._client.delete(self._prefix + ref))
        finally:
            self._local.invalidate(ref)
        if user_id is not None:
            await self._index.remove(user_id, ref)
        self.metrics.revoked.labels(reason).inc(existed)
        return existed

    async def end(self, ref: str, *, user_id: str | None, reason: str) -> bool:
        """End the session that a request has read as `user_id`'s, or as an anonymous one.

        Returns False, and ends nothing, when somebody has logged in to it since.
        """
        code = await self._write(END, ref, user_id or "")
        if user_id is not None:
            await self._index.remove(user_id, ref)
        self.metrics.revoked.labels(reason).inc(code == 1)
        return bool(code <= 1)

    async def list(self, user_id: str) -> list[SessionInfo]:
        """Return a user's live sessions, oldest login first."""
        return await self._index.infos(user_id)

    async def revoke(self, user_id: str, ref: str) -> bool:
        """End one of a user's sessions by its reference; False when it is not theirs."""
        if not await self._index.holds(user_id, ref):
            return False
        await self.delete(ref, user_id=user_id, reason="revoked")
        return True

    async def delete_all(self, user_id: str, *, keep: str | None = None) -> int:
        """End all sessions of a user, but for the reference `keep`; return how many."""
        ended = await self._index.clear(user_id, keep=keep)
        self.metrics.revoked.labels("everywhere").inc(ended)
        return ended

    async def _write(self, script: Script, ref: str, *arguments: Any) -> Any:
        try:
            return await script(self._client, self._prefix + ref, *arguments)
        finally:  # Redis first; and what failed here may have been done there.
            self._local.invalidate(ref)

    @property
    def _client(self) -> Any:
        return self._clients.sessions


def visible_to(record: SessionRecord | None, token: SessionToken) -> SessionRecord | None:
    """Return what a token may see of its record."""
    if record is None or hmac.compare_digest(record.digest, token.digest):
        return record
    return record.for_previous(token.digest, now=time.time())
