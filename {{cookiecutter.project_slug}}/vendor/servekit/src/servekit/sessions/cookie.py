"""Session ids: random, signed, known to the store by their hashes, and carried by a cookie."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from cachebox import LRUCache

Header = tuple[bytes, bytes]

KNOWN_BYTES = 2**20
VERIFIED_BYTES = 700
"""About what a verified cookie takes beside its field, its hashes included."""

SELECTOR_BYTES = 16
SECRET_BYTES = 32
ID_LENGTH = 64  # base64 of both, 48 bytes: no padding and no spare bits
SIGNATURE_LENGTH = 43
COOKIE_LENGTH = ID_LENGTH + 1 + SIGNATURE_LENGTH


@dataclass(frozen=True)
class SessionToken:
    """What a client holds: a selector that finds the record and a 256-bit secret that opens it.

    The selector stays when the secret is replaced, so every step of a session's life touches one
    key of Redis: a rotation is atomic on a Cluster too, and a logout ends the old and the new id.
    """

    selector: bytes
    secret: bytes

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_bytes(SELECTOR_BYTES), secrets.token_bytes(SECRET_BYTES))

    def rotated(self) -> Self:
        """Return a new id for the same record."""
        return type(self)(self.selector, secrets.token_bytes(SECRET_BYTES))

    @cached_property
    def ref(self) -> str:
        """The record's name, a hash of the selector: safe to show, opens nothing."""
        return hashlib.sha256(self.selector).hexdigest()[:32]

    @cached_property
    def digest(self) -> bytes:
        """What the record keeps of the secret."""
        return hashlib.sha256(self.secret).digest()


@dataclass(frozen=True)
class VerifiedCookie:
    """A cookie with a good signature; `outdated`: made with a key that no longer signs."""

    token: SessionToken
    outdated: bool


class SessionSigner:
    """Signs cookies with the first key and verifies them with all, so keys can be replaced."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        if not secret_keys or not all(secret_keys):
            raise ValueError("A session signer needs at least one key, and no empty one.")
        # The same setting may serve other purposes: a key of its own for this one.
        self._keys = [hmac.digest(key.encode(), b"session-cookie", "sha256") for key in secret_keys]

    def sign(self, token: SessionToken) -> str:
        """Return the cookie's value."""
        id_text = urlsafe_b64encode(token.selector + token.secret)
        return f"{id_text.decode()}.{self._signature(self._keys[0], id_text).decode()}"

    def verify(self, cookie: bytes) -> VerifiedCookie | None:
        """Return what a cookie says, or None: nothing is decoded before the signature holds."""
        if len(cookie) != COOKIE_LENGTH or cookie[ID_LENGTH : ID_LENGTH + 1] != b".":
            return None
        id_text, given = cookie[:ID_LENGTH], cookie[ID_LENGTH + 1 :]
        for index, key in enumerate(self._keys):
            if hmac.compare_digest(self._signature(key, id_text), given):
                raw = urlsafe_b64decode(id_text)
                token = SessionToken(raw[:SELECTOR_BYTES], raw[SELECTOR_BYTES:])
                return VerifiedCookie(token, outdated=index > 0)
        return None

    @staticmethod
    def _signature(key: bytes, id_text: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(key, id_text, "sha256")).rstrip(b"=")


class SessionCookie:
    """Reads and writes one cookie; `secure` demands HTTPS and a name that no other host can set.

    `clear_site_data` is what a browser is told to clear beside the cookie, `cache` or `storage`.
    """

    def __init__(
        self,
        signer: SessionSigner,
        *,
        name: str = "",
        secure: bool = True,
        clear_site_data: Sequence[str] = (),
    ) -> None:
        self.name = name or ("__Host-session" if secure else "dev-session")
        self._signer = signer
        # Header fields whose cookie has a good signature: checking one again takes 10 us.
        self._verified_fields: LRUCache[bytes, VerifiedCookie] = LRUCache(
            KNOWN_BYTES, getsizeof=lambda field, _: len(field) + VERIFIED_BYTES
        )
        kinds = ", ".join(f'"{kind}"' for kind in clear_site_data)
        self._site_data = [(b"clear-site-data", kinds.encode())] if kinds else []
        self._prefix = self.name.encode() + b"="
        # No Max-Age: it goes with the browser's session, the lifetimes are the server's matter.
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def read(self, headers: Iterable[Header]) -> tuple[bool, VerifiedCookie | None]:
        """Return whether a request carries the cookie, and the one good cookie.

        With two different ones someone else may have planted one: neither is believed.
        """
        fields = [value for name, value in headers if name == b"cookie"]
        if len(fields) == 1:
            cached = self._verified_fields.get(fields[0], None)
            if cached is not None:
                return True, cached
        candidates = {value for field in fields for value in self._values(field)}
        if len(candidates) != 1:
            return bool(candidates), None
        verified = self._signer.verify(candidates.pop())
        if verified is not None and len(fields) == 1:
            self._verified_fields[fields[0]] = verified
        return True, verified

    def _values(self, field: bytes) -> list[bytes]:
        if self._prefix not in field:
            return []
        parts = (part.strip() for part in field.split(b";"))
        return [part[len(self._prefix) :] for part in parts if part.startswith(self._prefix)]

    def set(self, token: SessionToken) -> Header:
        """Return the header that hands a session to the client."""
        return self._header(self._signer.sign(token), "")

    def clear(self) -> list[Header]:
        """Return the headers that take it away."""
        return [self._header("", "; Max-Age=0"), *self._site_data]

    def _header(self, value: str, lifetime: str) -> Header:
        return b"set-cookie", f"{self.name}={value}{lifetime}{self._attributes}".encode()
