"""What a server says of an answer that cannot be sent as HTTP."""

from __future__ import annotations

from servekit.error_chain import chain


class UnsendableHead(RuntimeError):  # noqa: N818 - what it is, read aloud in `except`
    """Status or header fields are not HTTP's; nothing was sent, so another answer still can be."""


def nothing_was_sent(error: BaseException | None) -> bool:
    """Return whether an exception, or what it was raised for, is a refused head."""
    return any(isinstance(each, UnsendableHead) for each in chain(error, contexts=True))
