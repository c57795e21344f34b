"""The fields of a session, which of them changed, and until when they may."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import orjson

from servekit.sessions.cookie import SessionToken
from servekit.sessions.record import Changes

NO_VISITOR = "a new session cannot be handed to its visitor"
NO_COOKIE = "The session is new, and its cookie can no longer be sent."
TOO_LATE = (
    "The answer has begun, so {what}. Do it before: in the route or a dependency, not in a "
    "background task, a streamed body, after a `yield`, or after `websocket.accept()`."
)


def written(name: str, value: object) -> bytes:
    """Return a field's value as JSON.

    Raises:
        TypeError: It has none.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        remedy = "keep JSON values, or use a `SessionKey` with the type of this one"
        raise TypeError(f"{name!r} cannot be kept in a session: {error}; {remedy}.") from None


class SessionFields(MutableMapping[str, Any]):
    """Fields as JSON texts, a mapping of values, and those that nobody has written yet."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__  # a session is itself, whatever it holds

    def __init__(self) -> None:
        self.begun = False
        """The head of the answer has left: no cookie can be sent any more."""
        self.over = False
        """The request has ended: nobody writes what is changed now."""
        self._lock: asyncio.Lock | None = None
        self._loaded = False
        self._token: SessionToken | None = None
        self._ended = False
        self._data: dict[str, bytes] = {}
        self._changes: dict[str, bytes | None] = {}

    @property
    def pending(self) -> bool:
        """Whether there are changes that nobody has written yet."""
        return bool(self._changes)

    def __getitem__(self, name: str) -> Any:
        self.require_loaded()
        return orjson.loads(self._data[name])

    def __setitem__(self, name: str, value: Any) -> None:
        self.require_writable()
        text = written(name, value)
        if self._data.get(name) != text:
            self._data[name] = self._changes[name] = text

    def __delitem__(self, name: str) -> None:
        self.require_writable()
        del self._data[name]
        self._changes[name] = None

    def __contains__(self, name: object) -> bool:
        self.require_loaded()
        return name in self._data

    def __iter__(self) -> Iterator[str]:
        self.require_loaded()
        return iter(list(self._data))

    def __len__(self) -> int:
        self.require_loaded()
        return len(self._data)

    def __bool__(self) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value or `default`."""
        self.require_loaded()
        text = self._data.get(name)
        return default if text is None else orjson.loads(text)

    def discard(self) -> list[str]:
        """Forget what changed and was not written; return the names of the fields."""
        names, self._changes = list(self._changes), {}
        return names

    def forget(self, written: Changes) -> None:
        """Forget changes that were written, but not what was changed anew meanwhile."""
        for name, text in written.items():
            if name in self._changes and self._changes[name] == text:
                del self._changes[name]

    def _one_at_a_time(self) -> asyncio.Lock:
        """Return what tasks of one request wait for before they write."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    def require_head(self, what: str) -> None:
        """Raise when a cookie can no longer be sent."""
        if self.begun:
            raise RuntimeError(TOO_LATE.format(what=what))

    def require_loaded(self) -> None:
        """Raise before `load`."""
        if not self._loaded:
            raise RuntimeError("`await session.load()` first, or depend on SessionDep.")

    def require_writable(self) -> None:
        """Raise when nobody would write a change."""
        self.require_loaded()
        if self.over:
            raise RuntimeError("The request is over: nobody would write this to the session.")
        if self._ended:
            raise RuntimeError("This session has ended: log in before writing to it.")
        if self._token is None:
            self.require_head(NO_VISITOR)
