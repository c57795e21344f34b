"""Session ids: random, signed, and known to the store by their hashes only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

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
