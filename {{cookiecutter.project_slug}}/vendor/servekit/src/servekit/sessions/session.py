"""The session of one request, loaded when asked for and written with its answer; typed fields."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.types import Scope

from servekit.errors import StoreUnavailable
from servekit.layers.http_headers import Headers
from servekit.sessions.cookie import SessionCookie, SessionToken
from servekit.sessions.record import Changes, SessionInfo, SessionRecord
from servekit.sessions.store import SessionStore

T = TypeVar("T")

DEVICE_LENGTH = 200


class Session:
    """What a route reads and writes: `await load()` first, then like a dict of JSON values.

    A read returns a fresh copy: assign to keep a change. Only changed fields are written, when the
    response starts, and only while the session lives: what a logout overtakes is dropped. The first
    write of a visitor without a session creates one. Calls that reach Redis may raise
    StoreUnavailable.
    """

    def __init__(self, store: SessionStore, cookie: SessionCookie, scope: Scope) -> None:
        self._store = store
        self._cookie = cookie
        self._scope = scope
        self.touched = False
        self._loaded = False
        self._token: SessionToken | None = None
        self._record: SessionRecord | None = None
        self._outdated = False
        self._issued = False
        self._ended = False
        self._data: dict[str, bytes] = {}
        self._changes: dict[str, bytes | None] = {}

    async def load(self) -> Self:
        """Fetch the session of the request's cookie, once; without a good cookie there is none."""
        if self._loaded:
            return self
        # From here on the answer depends on the session: it must not be cached.
        self.touched = True
        given, verified = self._cookie.read(self._scope["headers"])
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

    @property
    def user_id(self) -> str | None:
        """The user who is logged in here."""
        self._require_loaded()
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
        self._require_loaded()
        return self._token.ref if self._token is not None else None

    def __getitem__(self, name: str) -> Any:
        self._require_loaded()
        return orjson.loads(self._data[name])

    def __setitem__(self, name: str, value: Any) -> None:
        self._require_loaded()
        if self._ended:
            raise RuntimeError("This session has ended: log in before writing to it.")
        text = orjson.dumps(value)
        if self._data.get(name) != text:
            self._data[name] = self._changes[name] = text

    def __delitem__(self, name: str) -> None:
        self._require_loaded()
        del self._data[name]
        self._changes[name] = None

    def __contains__(self, name: object) -> bool:
        self._require_loaded()
        return name in self._data

    def __iter__(self) -> Iterator[str]:
        self._require_loaded()
        return iter(list(self._data))

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value or `default`."""
        self._require_loaded()
        text = self._data.get(name)
        return default if text is None else orjson.loads(text)

    async def login(self, user_id: str, **fields: Any) -> None:
        """Log a user in under a new id; an anonymous session's data stays, another user's goes."""
        await self.load()
        changes = dict(self._changes)
        if self._ended or self.user_id not in {None, user_id}:
            await self._end("replaced")
            changes = {}
        changes |= {name: orjson.dumps(value) for name, value in fields.items()}
        kept = self._data if self._record is not None and self._record.current else {}
        token = await self._store.login(self._token, user_id, changes, device=self._device())
        if self._token is None or token.ref != self._token.ref:
            kept = {}
        self._adopt(token, user_id, kept, changes)

    async def rotate(self, **fields: Any) -> None:
        """Give the session a new id, as a change of privileges demands; `fields` are written too.

        When a parallel request was faster, its id stands and only the fields are written.
        """
        await self.load()
        if self._token is None or self._record is None:
            return
        changes = self._changes | {name: orjson.dumps(value) for name, value in fields.items()}
        token = await self._store.rotate(self._token, changes)
        if token is None:
            self._data |= {name: text for name, text in changes.items() if text is not None}
            self._changes = changes
        else:
            self._adopt(token, self._record.user_id, self._data, changes)

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

    async def commit(self) -> Headers:
        """Write what changed and return the response's headers; the middleware calls it, once."""
        if self._ended and not self._issued:
            site_data = (b"clear-site-data", b'"cookies", "storage"')
            return [self._cookie.clear(), site_data]
        if self._token is None:
            await self._create()
        elif self._record is not None and not self._record.superseded:
            await self._update(self._token, self._record)
        return [self._cookie.set(self._token)] if self._issued and self._token else []

    async def _create(self) -> None:
        written = {name: text for name, text in self._changes.items() if text is not None}
        if written:
            self._token = await self._store.create(written, device=self._device())
            self._issued = True

    async def _update(self, token: SessionToken, record: SessionRecord) -> None:
        if not (self._changes or self._outdated or self._touch_is_due(record)):
            return
        try:
            _, current = await self._store.update(token, self._changes)
        except StoreUnavailable:
            if self._changes:
                raise
            return  # The answer is good; the next request notes the use.
        # An id that was rotated meanwhile must not overwrite its successor in the browser.
        self._issued = self._issued or (self._outdated and current)

    async def _end(self, reason: str) -> None:
        if self._token is not None and self._record is not None:
            user_id = self._record.user_id
            await self._store.delete(self._token.ref, user_id=user_id, reason=reason)
        self._token = self._record = None
        self._data, self._changes = {}, {}
        self._ended, self._issued = True, False

    def _adopt(
        self, token: SessionToken, user_id: str | None, kept: dict[str, bytes], changes: Changes
    ) -> None:
        texts = kept | {name: text for name, text in changes.items() if text is not None}
        self._record = SessionRecord(token.digest, user_id, time.time(), texts)
        self._token, self._data, self._changes = token, dict(texts), {}
        self._issued, self._ended, self._outdated = True, False, False

    def _touch_is_due(self, record: SessionRecord) -> bool:
        return time.time() - record.last_used >= self._store.touch_seconds

    async def _user(self) -> str:
        return (await self.load()).user

    def _require_loaded(self) -> None:
        if not self._loaded:
            raise RuntimeError("`await session.load()` first, or depend on SessionDep.")

    def _device(self) -> str:
        agents = (value for name, value in self._scope["headers"] if name == b"user-agent")
        text = next(agents, b"").decode("latin-1")[:DEVICE_LENGTH]
        return "".join(letter for letter in text if letter.isprintable())


class SessionKey(Generic[T]):
    """A field of a session with a type: `BASKET = SessionKey("basket", list[int], default=[])`.

    What an older version of the service wrote and the type no longer takes reads as the default.
    """

    def __init__(self, name: str, kind: Any, *, default: T) -> None:
        self.name = name
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._default = self._adapter.dump_json(default)

    def get(self, session: Session) -> T:
        """Return the field's value, a copy; set it to keep a change."""
        value = session.get(self.name)
        if value is not None:
            try:
                return self._adapter.validate_python(value)
            except ValidationError:
                pass
        return self._adapter.validate_json(self._default)

    def set(self, session: Session, value: T) -> None:
        """Change the field; the session is written when the response starts."""
        session[self.name] = self._adapter.dump_python(value, mode="json")

    def remove(self, session: Session) -> None:
        """Remove the field, if it is there."""
        if self.name in session:
            del session[self.name]
