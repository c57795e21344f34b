"""What is asked of an application, and what came back, whoever ran it."""

from dataclasses import dataclass, field
from typing import Any

NOT_THE_APPLICATIONS = {"content-length", "content-encoding", "date", "server", "vary"}


@dataclass(frozen=True)
class Ask:
    """One request; `status_only` where the library words an error that the application does not.

    `until` is a body that comes after a while, as what a background task does.
    """

    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    content: str | None = None
    status_only: bool = False
    until: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the application said: status, text, and the header fields of its own."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Talk:
    """Texts to send over a WebSocket, each after the answer to the one before."""

    path: str
    texts: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


def own_headers(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the header fields that no server and no layer of ours may change."""
    lower = [(name.lower(), value) for name, value in headers]
    return tuple(sorted(each for each in lower if each[0] not in NOT_THE_APPLICATIONS))
