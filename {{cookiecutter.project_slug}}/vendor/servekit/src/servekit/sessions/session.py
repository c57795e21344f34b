"""The session of one request, loaded when asked for and written with its answer, or after it."""

from __future__ import annotations

import time
from typing import Any, Self

from starlette.types import Scope

from servekit.errors import StoreUnavailable
from servekit.event_log import get_logger
from servekit.layers.http_headers import Headers
from servekit.scope import SESSION_HEADERS_KEY
from servekit.sessions.cookie import SessionCookie, SessionToken
from servekit.sessions.errors import SessionEnded
from servekit.sessions.fields import NO_COOKIE, NO_VISITOR, SessionFields, written
from servekit.sessions.record import (
    Changes,
    SessionInfo,
    SessionRecord,
    device_of,
    with_changes,
)
from servekit.sessions.store import SessionStore

log = get_logger()


class Session(SessionFields):
    """What a route reads and writes: `await load()` first, then like a dict of JSON values.

    A read returns a fresh copy: assign to keep a change. Only changed fields are written: when the
    answer begins, and what is changed after that when the request ends; `save()` does it at once.
    What a logout or a login overtakes is dropped, and said in the log. The first write of a visitor
    without a session creates one. What needs a new cookie once the answer has begun, and any write
    after the request's end, is a RuntimeError. Calls that reach Redis may raise StoreUnavailable.
    """

    def __init__(self, store: SessionStore, cookie: SessionCookie, scope: Scope) -> None:
        super().__init__()
        self._store = store
        self._cookie = cookie
        self._scope = scope
        self.touched = False
        self.loads = 0  # how often it was asked for: a shared answer must not be made of it
        self._record: SessionRecord | None = None
        self._outdated = False
        self._issued = False
        self._is_ours = True

    async def load(self) -> Self:
        """Fetch the session of the request's cookie, once; without a good cookie there is none."""
        self.loads += 1
        if self._loaded:
            return self
        # From here on the answer depends on the session: it must not be cached.
        self.touched = True
        hidden = self._scope.get(SESSION_HEADERS_KEY)
        given, verified = self._cookie.read(hidden() if hidden else self._scope["headers"])
        if verified is not None:
            token = verified.token
            self._record = await self._store.read(token)
            if self._record is not None:
                self._token, self._outdated = token, verified.outdated
                self._data = dict(self._record.data)
        elif given:
            self._store.metrics.rejected_cookies.inc()
        self._loaded = True
        return self

    def _of_nobody(self) -> Session:
        """Return the session of a run without a client: none, and nobody is logged in."""
        return Session(self._store, self._cookie, {**self._scope, SESSION_HEADERS_KEY: list})

    @property
    def user_id(self) -> str | None:
        """The user who is logged in here."""
        self.require_loaded()
        return self._record.user_id if self._record is not None else None

    @property
    def user(self) -> str:
        """The same, where a user is logged in for sure.

        Raises:
            PermissionError: Nobody is logged in.
        """
        if self.user_id is None:
            raise PermissionError("Nobody is logged in.")
        return self.user_id

    @property
    def clean(self) -> bool:
        """Whether there is nothing to `commit`."""
        if self._changes or self._issued or self._ended or self._outdated:
            return False
        record = self._record
        return record is None or record.superseded or not self._touch_is_due(record)

    @property
    def ref(self) -> str | None:
        """The session's reference, as `list` names it."""
        self.require_loaded()
        return self._token.ref if self._token is not None else None

    async def login(self, user_id: str, **fields: Any) -> None:
        """Log a user in under a new id; an anonymous session's data stays, another user's goes."""
        self.require_head("nobody can be logged in")
        await self.load()
        async with self._one_at_a_time():
            await self._log_in(user_id, fields)

    async def _log_in(self, user_id: str, fields: dict[str, Any]) -> None:
        if self._ended or self.user_id not in {None, user_id}:
            await self._end("replaced")
        before = dict(self._changes)
        changes = before | {name: written(name, value) for name, value in fields.items()}
        kept = self._data if self._record is not None and self._record.current else {}
        token = await self._store.login(
            self._token, user_id, changes, device=device_of(self._scope["headers"])
        )
        if self._token is None or token.ref != self._token.ref:
            kept = {}
        self._adopt(token, user_id, with_changes(kept, changes), before)

    async def rotate(self, **fields: Any) -> None:
        """Give the session a new id, as a change of privileges demands; `fields` are written too.

        When a parallel request was faster, its id stands and only the fields are written.
        """
        self.require_head("the session can get no new id")
        await self.load()
        async with self._one_at_a_time():
            await self._rotate(fields)

    async def _rotate(self, fields: dict[str, Any]) -> None:
        if self._token is None or self._record is None:
            return
        before = dict(self._changes)
        changes = before | {name: written(name, value) for name, value in fields.items()}
        kept = dict(self._data)
        token = await self._store.rotate(self._token, changes)
        if token is None:
            self.forget(before)
            self._changes = changes | self._changes
            self._data = with_changes(kept, self._changes)
        else:
            self._adopt(token, self._record.user_id, with_changes(kept, changes), before)

    async def logout(self) -> None:
        """End the session for good, its ids in grace too, and take the cookie away."""
        await self.load()
        await self._end("logout")

    async def list(self) -> list[SessionInfo]:
        """Return the user's live sessions, oldest login first."""
        return await self._store.list(await self._user())

    async def revoke(self, ref: str) -> bool:
        """End one of the user's sessions by its reference; False when it is not theirs."""
        if ref == self.ref:
            await self.logout()
            return True
        return await self._store.revoke(await self._user(), ref)

    async def logout_everywhere(self, *, keep_current: bool = False) -> int:
        """End all sessions of the user, or all others; return how many ended."""
        user_id = await self._user()
        ended = await self._store.delete_all(user_id, keep=self.ref if keep_current else None)
        if not keep_current:
            await self._end("everywhere")
        return ended

    async def save(self) -> None:
        """Write what changed now, without waiting for the answer to begin or the request to end.

        Raises:
            SessionEnded: A logout, a login or the end of its lifetime was first.
            RuntimeError: There is no session, and it is too late for the cookie of a new one.
        """
        await self.load()
        if not self._changes:
            return
        if self._token is None:
            self.require_head(NO_VISITOR)
            await self._create()
        token = self._token
        if token is not None and self._changes and not (await self._write(token))[0]:
            raise SessionEnded("The session has ended, or somebody has logged in to it.")

    async def commit(self) -> Headers:
        """Write what changed and return the response's headers; the middleware calls it, once."""
        if self._ended and not self._issued:
            return self._cookie.clear() if self._is_ours else []
        if self._token is None:
            await self._create()
        if self._token is not None and self._record is not None:
            await self._update(self._token, self._record)
        return self._new_cookie()

    def _new_cookie(self) -> Headers:
        """Return the field that hands out a new id, if there is one: its client has no other."""
        return [self._cookie.set(self._token)] if self._issued and self._token else []

    async def write_late(self) -> None:
        """Write what changed after the answer began; what cannot be kept is said in the log."""
        lost = NO_COOKIE
        try:
            if self._token is not None:
                lost = "The request was cancelled."
                written, _ = await self._write(self._token)
                lost = ""
                if not written:
                    self._note_dropped()
        except StoreUnavailable as error:
            lost = str(error)
        finally:
            if lost:
                log.error("session_write_lost", fields=sorted(self.discard()), reason=lost)

    def _end_request(self) -> None:
        """Refuse writes from now on, and keep no more of the request than `load` needs.

        The scope holds the session: if both held each other, only the collector could free them.
        """
        self.over = True
        self._scope = {
            key: self._scope[key] for key in ("headers", SESSION_HEADERS_KEY) if key in self._scope
        }

    def note_undelivered(self) -> None:
        """Say in the log that the cookie of a new id cannot be sent: its client is refused."""
        if self._issued:
            log.error("session_write_lost", fields=sorted(self._data), reason=NO_COOKIE)

    async def _create(self) -> None:
        """Make a session of what was written, unless another task of the request just did."""
        async with self._one_at_a_time():
            if self._token is not None:
                return
            changes = dict(self._changes)
            written = {name: text for name, text in changes.items() if text is not None}
            if written:
                self._token = await self._store.create(
                    written, device=device_of(self._scope["headers"])
                )
                self._record = SessionRecord(self._token.digest, None, time.time(), written)
                self._issued = True
            self.forget(changes)

    async def _update(self, token: SessionToken, record: SessionRecord) -> None:
        if not (self._changes or self._outdated or self._touch_is_due(record)):
            return
        changed = self.pending
        try:
            written, current = await self._write(token)
        except StoreUnavailable:
            if changed:
                raise
            return  # The answer is good; the next request notes the use.
        if changed and not written:
            self._note_dropped()
        # An id that was rotated meanwhile must not overwrite its successor in the browser.
        self._issued = self._issued or (self._outdated and current)

    async def _write(self, token: SessionToken) -> tuple[bool, bool]:
        """Write what changed, one write after the other; return what `update` says."""
        async with self._one_at_a_time():
            changes = dict(self._changes)
            result = await self._store.update(token, changes)
            self.forget(changes)
        return result

    def _note_dropped(self) -> None:
        self._store.metrics.dropped_writes.inc()
        log.warning("session_write_dropped", reason="A logout, a login or its end was first.")

    async def _end(self, reason: str) -> None:
        if self._token is not None and self._record is not None:
            user_id = self._record.user_id
            self._is_ours = await self._store.end(self._token.ref, user_id=user_id, reason=reason)
        self._token = self._record = None
        self._data, self._changes = {}, {}
        self._ended, self._issued = True, False

    def _adopt(
        self, token: SessionToken, user_id: str | None, texts: dict[str, bytes], before: Changes
    ) -> None:
        """Go on under a new id; what changed since `before`, while that was written, is pending."""
        self.forget(before)
        self._record = SessionRecord(token.digest, user_id, time.time(), texts)
        self._token, self._data = token, with_changes(texts, self._changes)
        self._issued, self._ended, self._outdated = True, False, False

    def _touch_is_due(self, record: SessionRecord) -> bool:
        return time.time() - record.last_used >= self._store.touch_seconds

    async def _user(self) -> str:
        return (await self.load()).user
