"""The session cookie: how it is read from a request and written to a response."""

from __future__ import annotations

from collections.abc import Iterable

from service.stores.sessions.tokens import SessionSigner, SessionToken, VerifiedCookie

Header = tuple[bytes, bytes]


class SessionCookie:
    """Reads and writes one cookie; `secure` demands HTTPS and a name that no other host can set."""

    def __init__(self, signer: SessionSigner, *, name: str = "", secure: bool = True) -> None:
        self.name = name or ("__Host-session" if secure else "session")
        self._signer = signer
        self._prefix = self.name.encode() + b"="
        # No Max-Age: it goes with the browser's session, the lifetimes are the server's matter.
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def candidates(self, headers: Iterable[Header]) -> set[bytes]:
        """Return the different values that a request carries under the cookie's name."""
        found = set()
        for name, value in headers:
            if name == b"cookie" and self._prefix in value:
                parts = (part.strip() for part in value.split(b";"))
                found |= {
                    part[len(self._prefix) :] for part in parts if part.startswith(self._prefix)
                }
        return found

    def verify(self, candidates: set[bytes]) -> VerifiedCookie | None:
        """Return the one good cookie; with two, someone else may have planted one: None."""
        return self._signer.verify(next(iter(candidates))) if len(candidates) == 1 else None

    def set(self, token: SessionToken) -> Header:
        """Return the header that hands a session to the client."""
        return self._header(self._signer.sign(token), "")

    def clear(self) -> Header:
        """Return the header that takes it away."""
        return self._header("", "; Max-Age=0")

    def _header(self, value: str, lifetime: str) -> Header:
        return b"set-cookie", f"{self.name}={value}{lifetime}{self._attributes}".encode()
