"""The rules of HTTP caching, without I/O: RFC 9111, RFC 5861 and the conditions of RFC 9110."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType

from servekit.layers.http_headers import header_value
from servekit.remembered import remembered

Directives = Mapping[str, str | None]
HeaderFields = Iterable[tuple[bytes, bytes]]

DIRECTIVE = re.compile(r"([!#$%&'*+.^_`|~\w-]+)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,]*)))?")
ENTITY_TAG = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
NEVER_SHARED = frozenset({"no-store", "private", "no-cache"})
NEVER_STALE = frozenset({"must-revalidate", "proxy-revalidate", "s-maxage"})
FINAL_STATUSES = frozenset({200, 203, 204, 300, 301, 308})
NEGATIVE_STATUSES = frozenset({404, 410})
ERROR_STATUSES = frozenset({500, 502, 503, 504})
SECONDS_MAX = 2**31


@remembered(512)
def parse_cache_control(value: bytes) -> Directives:
    """Return the directives of a Cache-Control value; of a repeated one the first counts."""
    directives: dict[str, str | None] = {}
    for name, quoted, plain in DIRECTIVE.findall(value.decode("latin-1")):
        directives.setdefault(name.lower(), quoted or plain or None)
    return MappingProxyType(directives)


def directive_seconds(directives: Directives, name: str) -> int | None:
    """Return a directive's seconds, None when it is absent, 0 when it makes no sense."""
    if name not in directives:
        return None
    return seconds_of((directives[name] or "").encode())


def seconds_of(value: bytes) -> int:
    """Return delta-seconds (RFC 9111 1.2.2), 0 when they make no sense."""
    return min(int(value), SECONDS_MAX) if value.isdigit() else 0


@remembered(512)
def http_date(value: bytes) -> float | None:
    """Return an HTTP date in seconds since the epoch, None for anything else."""
    try:
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a stored response may be served, in seconds from its creation on."""

    fresh: float
    while_revalidating: float = 0
    on_error: float = 0

    @property
    def total(self) -> float:
        """When it is of no more use."""
        return self.fresh + max(self.while_revalidating, self.on_error)


def age_of(headers: HeaderFields) -> int:
    """Return the Age with which a response came; of several the first counts (RFC 9111 5.1)."""
    return seconds_of(header_value(headers, b"age").partition(b",")[0].strip())


def is_private(headers: HeaderFields) -> bool:
    """Return whether a response is for nobody but the client who asked, waiting ones included."""
    headers = list(headers)
    control = parse_cache_control(header_value(headers, b"cache-control"))
    sets_cookie = any(name.lower() == b"set-cookie" for name, _ in headers)
    return sets_cookie or not {"private", "no-store"}.isdisjoint(control)


def may_store(status: int, headers: HeaderFields) -> bool:
    """Return whether a shared cache may store a response to a GET without Authorization.

    Stricter than RFC 9111 where that is safe: what sets a cookie, must always be validated, is a
    part or an error is not stored either.
    """
    headers = list(headers)
    names = {name.lower() for name, _ in headers}
    if status not in FINAL_STATUSES | NEGATIVE_STATUSES or b"set-cookie" in names:
        return False
    if b"content-range" in names or b"*" in vary_names(headers):
        return False
    return not NEVER_SHARED & parse_cache_control(header_value(headers, b"cache-control")).keys()


def lifetimes(headers: HeaderFields, *, default: Lifetimes) -> Lifetimes:
    """Return what a response says of its lifetimes, `default` where it is silent."""
    headers = list(headers)
    directives = parse_cache_control(header_value(headers, b"cache-control"))
    fresh: float | None = directive_seconds(directives, "s-maxage")
    if fresh is None:
        fresh = directive_seconds(directives, "max-age")
    if fresh is None and (expires := header_value(headers, b"expires")):
        date = http_date(header_value(headers, b"date"))
        date = time.time() if date is None else date  # made just now, as the server will say
        fresh = max(0.0, (http_date(expires) or 0) - date)
    if fresh is None:
        fresh = default.fresh
    if NEVER_STALE & directives.keys():
        return Lifetimes(fresh)
    stale = directive_seconds(directives, "stale-while-revalidate")
    error = directive_seconds(directives, "stale-if-error")
    return Lifetimes(
        fresh,
        default.while_revalidating if stale is None else stale,
        default.on_error if error is None else error,
    )


def usable(times: Lifetimes, age: float) -> bool:
    """Return whether a stored response of this age is served; stale ones are while revalidated."""
    return times.fresh - age > -times.while_revalidating


@remembered(512)
def _names(value: bytes) -> frozenset[bytes]:
    return frozenset(part.strip().lower() for part in value.split(b",") if part.strip())


def vary_names(headers: HeaderFields) -> frozenset[bytes]:
    """Return the request fields that a response depends on, in lower case."""
    return _names(header_value(headers, b"vary"))


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether an If-None-Match names the entity tag, compared weakly."""
    if if_none_match.strip() == b"*":
        return True
    own = ENTITY_TAG.fullmatch(etag)
    return own is not None and own[1] in ENTITY_TAG.findall(if_none_match)


def not_modified(
    *, etag: bytes, last_modified: bytes, if_none_match: bytes, if_modified_since: bytes
) -> bool:
    """Return whether the client's copy is good, by RFC 9110 13.2.2: tags go before dates."""
    if if_none_match:
        return matches(if_none_match, etag)
    since, modified = http_date(if_modified_since), http_date(last_modified)
    return since is not None and modified is not None and modified <= since


def accepted_codings(value: bytes) -> bytes:
    """Return the compressions that an Accept-Encoding takes, in one spelling for all clients."""
    accepted, refused, any_other = set(), set(), False
    for part in value.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        coding = coding.strip()
        if _quality(parameters) <= 0:
            refused.add(coding)
        elif coding == b"*":
            any_other = True
        else:
            accepted.add(coding)
    known = {b"br", b"gzip", b"zstd"}
    return b",".join(sorted((known if any_other else accepted & known) - refused))


def _quality(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 0
    return 1
