"""A field of a session that has a type."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from servekit.sessions.session import Session

T = TypeVar("T")


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
