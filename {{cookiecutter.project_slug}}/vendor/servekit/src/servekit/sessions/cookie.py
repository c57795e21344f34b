"""The session cookie: how it is read from a request and written to a response."""

from __future__ import annotations

from collections.abc import Iterable

from cachebox import LRUCache

from servekit.sessions.tokens import SessionSigner, SessionToken, VerifiedCookie

Header = tuple[bytes, bytes]

KNOWN_BYTES = 2**20
VERIFIED_BYTES = 700
"""About what a verified cookie takes beside its field, its hashes included."""


class SessionCookie:
    """Reads and writes one cookie; `secure` demands HTTPS and a name that no other host can set."""

    def __init__(self, signer: SessionSigner, *, name: str = "", secure: bool = True) -> None:
        self.name = name or ("__Host-session" if secure else "session")
        self._signer = signer
        # Header fields whose cookie has a good signature: checking one again takes 10 us.
        self._known: LRUCache[bytes, VerifiedCookie] = LRUCache(
            KNOWN_BYTES, getsizeof=lambda field, _: len(field) + VERIFIED_BYTES
        )
        self._prefix = self.name.encode() + b"="
        # No Max-Age: it goes with the browser's session, the lifetimes are the server's matter.
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def read(self, headers: Iterable[Header]) -> tuple[bool, VerifiedCookie | None]:
        """Return whether a request carries the cookie, and the one good cookie.

        With two different ones someone else may have planted one: neither is believed.
        """
        fields = [value for name, value in headers if name == b"cookie"]
        if len(fields) == 1:
            known = self._known.get(fields[0], None)
            if known is not None:
                return True, known
        candidates = {value for field in fields for value in self._values(field)}
        if len(candidates) != 1:
            return bool(candidates), None
        verified = self._signer.verify(candidates.pop())
        if verified is not None and len(fields) == 1:
            self._known[fields[0]] = verified
        return True, verified

    def _values(self, field: bytes) -> list[bytes]:
        if self._prefix not in field:
            return []
        parts = (part.strip() for part in field.split(b";"))
        return [part[len(self._prefix) :] for part in parts if part.startswith(self._prefix)]

    def set(self, token: SessionToken) -> Header:
        """Return the header that hands a session to the client."""
        return self._header(self._signer.sign(token), "")

    def clear(self) -> Header:
        """Return the header that takes it away."""
        return self._header("", "; Max-Age=0")

    def _header(self, value: str, lifetime: str) -> Header:
        return b"set-cookie", f"{self.name}={value}{lifetime}{self._attributes}".encode()
