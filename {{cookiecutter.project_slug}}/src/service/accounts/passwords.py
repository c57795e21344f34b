"""Hash and verify passwords with scrypt; run both off the event loop."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode

# OWASP's equivalent of 2**17/8/1 with an eighth of the memory: 16 MiB for each login in flight.
COST, BLOCK, PARALLEL = 2**14, 8, 5
MEMORY_LIMIT_BYTES = 64 * 2**20
SALT_BYTES = 16
DIGEST_BYTES = 32


def hash_password(password: str) -> str:
    """Return a new salt, the parameters and the digest in one line of text."""
    salt = secrets.token_bytes(SALT_BYTES)
    return encode(salt, digest(password, salt, COST, BLOCK, PARALLEL))


def verify_password(password: str, encoded: str) -> bool:
    """Tell whether `password` is the one that was hashed, in a time that does not depend on it."""
    _, cost, block, parallel, salt, expected = encoded.split("$")
    actual = digest(password, b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(actual, b64decode(expected))


def unmatched_hash() -> str:
    """Return a hash that no password has and that takes as long to verify as any other."""
    return encode(secrets.token_bytes(SALT_BYTES), secrets.token_bytes(DIGEST_BYTES))


def encode(salt: bytes, key: bytes) -> str:
    """Write a hash with today's parameters, so that raising them leaves old hashes readable."""
    return f"scrypt${COST}${BLOCK}${PARALLEL}${b64encode(salt).decode()}${b64encode(key).decode()}"


def digest(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    """Derive the key; releases the GIL, takes a few hundred milliseconds."""
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost,
        r=block,
        p=parallel,
        maxmem=MEMORY_LIMIT_BYTES,
        dklen=DIGEST_BYTES,
    )
