"""Request fields that ask for more than a whole stored answer: the route is to see them."""

from __future__ import annotations

BODY = frozenset({b"content-length", b"transfer-encoding"})
BYPASSING = BODY | {b"range", b"if-range", b"if-match", b"if-unmodified-since"}
