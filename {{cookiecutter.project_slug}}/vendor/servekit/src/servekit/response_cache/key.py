"""The key of a cached answer, and the request's fields in the one spelling that is in it."""

from __future__ import annotations

import re
from hashlib import blake2b
from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

from servekit.remembered import remembered
from servekit.response_cache.declared import ALL
from servekit.response_cache.rfc9111 import accepted_codings
from servekit.response_cache.routes import CacheableRoute

ENCODED = re.compile(rb"%[0-9a-fA-F]{2}")
WELL_ENCODED = re.compile(rb"(?:[^%]|%[0-9a-fA-F]{2})*")
UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
ABSENT = b"\r"  # which no value is, nor lines of several: absent is not empty


def page_key(scope: Scope, route: CacheableRoute, fields: dict[bytes, bytes], *place: bytes) -> str:
    """Return the name of an answer: scheme, host, path, and the fields that its route declares.

    `place` says more of the path, where a middleware may have changed it.
    """
    about_all = (
        scope["scheme"],
        fields.get(b"host", b""),
        scope.get("raw_path") or scope["path"].encode(),
        scope.get("root_path", "").encode(),  # a route sees it, and clients may say it
        fields.get(b"accept-encoding", b""),
    )
    if route.has_one_page and not place:
        return _key(*about_all)
    return _key(
        *about_all,
        scope["query_string"] if route.query else b"",
        route.query,
        fields.get(b"cookie", b"") if route.cookies else b"",
        route.cookies,
        *place,
        *[part for name in route.key_headers for part in (name, fields.get(name, ABSENT))],
    )


@remembered(512)
def _key(  # noqa: PLR0913, PLR0917 - what a key is made of
    scheme: str,
    host: bytes,
    path: bytes,
    root_path: bytes,
    codings: bytes,
    query: bytes = b"",
    query_names: frozenset[str] = frozenset(),
    cookie: bytes = b"",
    cookie_names: frozenset[str] = frozenset(),
    *headers: bytes,
) -> str:
    parts = [
        scheme.encode(),
        host.lower(),
        visible_path(path),
        root_path,
        accepted_codings(codings),
        visible_query(query, query_names),
        visible_cookies(cookie, cookie_names),
        *headers,
    ]
    digest = blake2b(digest_size=16)
    for part in parts:  # with its length: no two lists of parts are alike
        digest.update(b"%d:%b" % (len(part), part))
    return "http:" + digest.hexdigest()


def visible_path(path: bytes) -> bytes:
    """Return an encoded path in the one spelling that RFC 3986, 6.2.2 calls normal.

    `%37` is `7`, and `%c3` is `%C3`; `%2F` stays, as it is not `/`. So does what is badly encoded:
    `%6%61` says "%6a", which is no `j`.
    """
    if b"%" not in path or not WELL_ENCODED.fullmatch(path):
        return path
    return ENCODED.sub(_in_normal_form, path)


def _in_normal_form(match: re.Match[bytes]) -> bytes:
    code = bytes.fromhex(match[0][1:].decode("ascii"))
    return code if UNRESERVED.fullmatch(code) else match[0].upper()


@remembered(512)
def visible_query(query: bytes, names: frozenset[str]) -> bytes:
    """Return a query of the parameters that are declared, in the order of their names.

    Values of one name keep their order: `a=1&a=2` is not `a=2&a=1`. It says what Starlette reads,
    in one spelling.
    """
    if not query or not names:
        return b""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    kept = pairs if ALL in names else [pair for pair in pairs if pair[0] in names]
    return urlencode(sorted(kept, key=lambda pair: pair[0])).encode("ascii")


@remembered(512)
def visible_cookies(header: bytes, names: frozenset[str]) -> bytes:
    """Return a Cookie field of the cookies that are declared; the last of one name counts."""
    if not header or not names or ALL in names:
        return header if names else b""
    values = {}
    for pair in header.decode("latin-1").replace("\n", ";").split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip() in names:
            values[name.strip()] = value.strip()
    return "; ".join(f"{name}={values[name]}" for name in sorted(values)).encode("latin-1")


def uri_name(path: str) -> str:
    """Return a name for a path; every query of it shares the name."""
    return blake2b(path.encode(), digest_size=16).hexdigest()
