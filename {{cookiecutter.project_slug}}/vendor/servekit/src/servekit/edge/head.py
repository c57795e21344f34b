"""The head of an answer: what HTTP allows in it, and how it says where the body ends."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from servekit.unsendable import UnsendableHead

if TYPE_CHECKING:
    from collections.abc import Iterable

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())
    for status in HTTPStatus
    if status >= HTTPStatus.OK
}
FINAL_STATUSES = range(200, 600)
BODILESS = frozenset({204, 304})
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH_DIGITS = 18
LENGTH = re.compile(rb"[0-9]{1,%d}" % LENGTH_DIGITS)
NAMES_LIMIT = 256
REPEATED = frozenset(
    {b"age", b"cache-control", b"cache-status", b"content-type", b"etag", b"last-modified", b"vary"}
)
"""Fields whose values come again."""
JOINED_BYTES = 65_536
"""The longest body that is copied, to leave with its head in one system call."""
LINES_LIMIT = 1024
REPEATED_BYTES = 200

Header = tuple[bytes, bytes]

COMMON_HEADERS: list[Header] = [
    (b"content-type", b"application/json"),
    (b"vary", b"Accept-Encoding"),
    (b"cache-control", b"no-store"),
]
"""Fields that many answers have, beside those that a program puts on all of them."""


class HeadWriter:
    """Turn header fields into lines; those in `lines` were checked and are not again.

    They are the fields in `constant`, and up to a bound those that came before.
    """

    def __init__(self, constant: list[Header]) -> None:
        self._names: dict[bytes, bytes] = {}
        self.lines = {field: self.line(*field) for field in constant}

    def line(self, name: bytes, value: bytes) -> bytes:
        """Return one line.

        Raises:
            UnsendableHead: It could end early, or is no field at all.
        """
        prefix = self._names.get(name) or self._prefix(name)
        if BAD_VALUE.search(value):
            raise UnsendableHead(f"Invalid value of the header {name!r}.")
        return prefix + value + b"\r\n"

    def remember(self, field: Header, line: bytes) -> None:
        if len(self.lines) < LINES_LIMIT and len(line) <= REPEATED_BYTES:
            self.lines[tuple(field)] = line  # type: ignore[index] # of whatever was given

    def _prefix(self, name: bytes) -> bytes:
        if not FIELD_NAME.fullmatch(name):
            raise UnsendableHead(f"Invalid header name {name!r}.")
        prefix = name.lower() + b": "
        if len(self._names) < NAMES_LIMIT:
            self._names[name] = prefix
        return prefix


class Framing(NamedTuple):
    """How a client learns where the body ends."""

    fields: list[Header]
    length: int = 0
    chunked: bool = False
    until_close: bool = False
    close: bool = False
    """Whether the application asks to close the connection."""


def status_line(status: int) -> bytes:
    """Return the first line of an answer, whose status need not have a name.

    Raises:
        UnsendableHead: It is no status that ends a request.
    """
    known = STATUS_LINES.get(status)
    if known is not None:
        return known
    if not isinstance(status, int) or status not in FINAL_STATUSES:
        raise UnsendableHead(f"Invalid status {status!r}.")
    return b"HTTP/1.1 %d \r\n" % status


def frame(status: int, given: Iterable[Header], *, method: str, version: str) -> Framing:
    """Return how an answer is framed; `given` are the application's own fields of FRAMING.

    Raises:
        UnsendableHead: They contradict each other, or name a coding that nobody applies.
    """
    kept, lengths, chunked, close = [], set(), False, False
    for name, value in given:
        if name == b"content-length":
            lengths.add(length_of(value))
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise UnsendableHead(f"Nobody applies the transfer coding {value!r}.")
            chunked = True
        else:
            kept.append((name, value))
            close = close or b"close" in {part.strip() for part in value.lower().split(b",")}
    if len(lengths) > 1:
        raise UnsendableHead(f"Several lengths: {sorted(lengths)}.")
    length = None if chunked else next(iter(lengths), None)
    if status == 204:  # noqa: PLR2004 - No Content, which must not tell a length
        return Framing(kept, close=close)
    if length is not None:
        kept.append((b"content-length", b"%d" % length))
        return Framing(kept, 0 if status in BODILESS else length, close=close)
    if status in BODILESS or (method == "HEAD" and not chunked):
        return Framing(kept, close=close)
    if version == "1.0":
        return Framing(kept, until_close=True, close=close)
    return Framing([*kept, (b"transfer-encoding", b"chunked")], chunked=True, close=close)


def length_of(value: bytes) -> int:
    """Return what a Content-Length says."""
    if not LENGTH.fullmatch(value.strip()):
        raise UnsendableHead(f"Invalid Content-Length {value!r}.")
    return int(value)


def is_plain_length(given: list[Header]) -> bool:
    """Return whether an answer is framed by one length and nothing else."""
    if len(given) != 1:
        return False
    [(name, value)] = given
    return name == b"content-length" and value.isdigit() and len(value) <= LENGTH_DIGITS
