"""A request that asks for another protocol which nobody speaks here is served as if it did not."""

from __future__ import annotations

import httptools

from servekit.edge.abandoned import AbandonedReads

FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def drop_empty_body(headers: list[tuple[bytes, bytes]]) -> bool:
    """Leave out what announces an empty body; return whether none is announced any more.

    The library of WebSockets reads no handshake that says anything of a body.
    """
    for field in [field for field in headers if field[0] in FRAMING]:
        if field != (b"content-length", b"0"):
            return False
        headers.remove(field)
    return True


class IgnoredUpgrades(AbandonedReads):
    """The parser takes what follows any `Upgrade` for the other protocol; it is the body.

    Clients of HTTP/2 ask so with their first request (`h2c`), TLS libraries with `TLS/1.0`.
    """

    ignoring_upgrade = False
    """Whether the request that is read asks for a protocol other than WebSocket."""
    resuming = False
    """Whether what the parser reads is a head that it has read before."""

    def rest_after_upgrade(self, data: bytes, error: httptools.HttpParserUpgrade) -> bytes:
        """Return what follows the head, for another parser, which is told the framing alone."""
        self.ignoring_upgrade = False
        [unread_from] = error.args
        self.parser = httptools.HttpRequestParser(self)
        framing = [field for field in self.headers if field[0] in FRAMING]
        lines = [b"%b: %b\r\n" % field for field in framing]
        self.resuming = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")
        self.resuming = False
        rest: bytes = data[unread_from:]
        return rest
