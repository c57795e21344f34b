"""What Redis holds of a session, and what the service makes of it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from servekit.layers.http_headers import Headers

DATA = "data:"
NOTHING = b""
DEVICE_LENGTH = 200

Changes = Mapping[str, bytes | None]
"""Changed fields and their JSON text; None removes a field."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as its user may see it; `ref` names it for `revoke` and opens nothing."""

    ref: str
    device: str
    created_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session read from Redis; `data` holds JSON texts, times are seconds since the epoch."""

    digest: bytes
    user_id: str | None
    last_used: float
    data: Mapping[str, bytes]
    current: bool = True
    superseded: bool = False
    previous: bytes = NOTHING
    previous_until: float = 0
    previous_user_id: str | None = None

    def for_previous(self, digest: bytes, *, now: float) -> SessionRecord | None:
        """Return what the id before the last rotation may see of this, None when it is dead."""
        if now >= self.previous_until or not hmac.compare_digest(self.previous, digest):
            return None
        if self.previous_user_id == self.user_id:
            return replace(self, current=False)
        # A login in between: whoever held the id before it, perhaps planted it, gains nothing.
        return replace(self, user_id=None, data={}, current=False, superseded=True)


def parse(parts: Sequence[bytes]) -> SessionRecord:
    """Make a record of a hash's fields and values, given in turn."""
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    prefix = DATA.encode()
    return SessionRecord(
        digest=fields[b"id"],
        user_id=user_of(fields.get(b"user")),
        last_used=seconds(fields[b"used"]),
        data={
            name[len(prefix) :].decode(): value
            for name, value in fields.items()
            if name.startswith(prefix)
        },
        previous=fields.get(b"previous", NOTHING),
        previous_until=seconds(fields.get(b"previous_until", b"0")),
        previous_user_id=user_of(fields.get(b"previous_user")),
    )


def arguments(changes: Changes) -> list[Any]:
    """Return changes as the scripts take them: count of removed fields, those, the others."""
    removed = [DATA + name for name, value in changes.items() if value is None]
    written = [
        part
        for name, value in changes.items()
        if value is not None
        for part in (DATA + name, value)
    ]
    return [len(removed), *removed, *written]


def user_of(field: bytes | None) -> str | None:
    """Return the user that a field names; an anonymous session has none."""
    return field.decode() if field else None


def seconds(milliseconds: bytes) -> float:
    """Return a stored time in seconds since the epoch."""
    return int(milliseconds) / 1000


def moment(milliseconds: bytes) -> datetime:
    """Return a stored time in UTC."""
    return datetime.fromtimestamp(seconds(milliseconds), UTC)


def with_changes(data: dict[str, bytes], changes: Changes) -> dict[str, bytes]:
    """Return fields after changes, of which None takes one out."""
    changed: dict[str, bytes | None] = {**data, **changes}
    return {name: text for name, text in changed.items() if text is not None}


def device_of(headers: Headers) -> str:
    """Return what a request says of its device, for lists of sessions."""
    agents = (value for name, value in headers if name == b"user-agent")
    text = next(agents, b"").decode("latin-1")[:DEVICE_LENGTH]
    return "".join(letter for letter in text if letter.isprintable())
