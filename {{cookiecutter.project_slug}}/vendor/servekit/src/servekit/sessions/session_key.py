"""A field of a session that has a type."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from servekit.json_losses import json_losses
from servekit.sessions.session import Session

T = TypeVar("T")


class SessionKey(Generic[T]):
    """A field of a session with a type: `BASKET = SessionKey("basket", list[int], default=[])`.

    What an older version of the service wrote and the type no longer takes reads as the default.

    Raises:
        TypeError: Values of the type do not come back as they went.
    """

    def __init__(self, name: str, kind: Any, *, default: T) -> None:
        self.name = name
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        for reason in json_losses(self._adapter):
            raise TypeError(f"{name!r} cannot be kept in a session: {reason}.")
        self._default = self._adapter.dump_json(default, round_trip=True)

    def get(self, session: Session) -> T:
        """Return the field's value, a copy; set it to keep a change."""
        if self.name in session:
            try:
                return self._read(json.dumps(session[self.name]))
            except ValidationError:
                pass
        return self._read(self._default)

    def set(self, session: Session, value: T) -> None:
        """Change the field; the session is written when the response starts."""
        session[self.name] = self._adapter.dump_python(value, mode="json", round_trip=True)

    def _read(self, text: str | bytes) -> T:
        # As JSON, in which strict types take what they wrote; by field names, as it is written.
        return self._adapter.validate_json(text, by_alias=True, by_name=True)

    def remove(self, session: Session) -> None:
        """Remove the field, if it is there."""
        if self.name in session:
            del session[self.name]
