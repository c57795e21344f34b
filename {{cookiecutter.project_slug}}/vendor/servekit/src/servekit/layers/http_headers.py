"""Small operations on ASGI header lists; names are given in lower case."""

from __future__ import annotations

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]


def header_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return a field's value, repeated fields joined as RFC 9110 says; b"" without one."""
    return b", ".join(value for key, value in headers if key.lower() == name)


def replace_header(headers: Headers, name: bytes, value: bytes) -> Headers:
    """Return headers in which a field has this one value."""
    return [*((key, old) for key, old in headers if key.lower() != name), (name, value)]


def add_vary(headers: Headers, field: bytes) -> Headers:
    """Return headers whose Vary names `field`."""
    vary = header_value(headers, b"vary")
    named = {part.strip().lower() for part in vary.split(b",")}
    if field.lower() in named or b"*" in named:
        return headers
    return replace_header(headers, b"vary", vary + b", " + field if vary else field)
