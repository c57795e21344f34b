"""The requests that a doctor sends: one path, a list of lines, or what a browser has recorded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = re.compile(r"[A-Z]{1,20}")
TARGET = re.compile(r"/[!-~]*")
FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}
)
"""Fields that a recording has and that its repetition has its own of."""


@dataclass(frozen=True)
class Request:
    """One request as it is sent, again and again in turn with the others of a file."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


def read_requests(name: str) -> list[Request]:
    """Return the requests of a file: a line each as `/path` or `METHOD /path`, or a HAR.

    Raises:
        ValueError: It cannot be read, or holds none; the text names file, line and reason.
    """
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: no text in UTF-8") from None
    try:
        found = list(recorded(text) if text.lstrip().startswith("{") else listed(text))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not found:
        raise ValueError(f"{name}: no request in it")
    return found


def listed(text: str) -> Iterator[Request]:
    """Yield the requests of lines; empty ones and those that begin with # are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:  # noqa: PLR2004 - a method and a path
            raise ValueError(f"line {number}: {line.strip()[:80]!r} is no `METHOD /path`")
        yield checked(Request(words[0] if len(words) > 1 else "GET", words[-1]), f"line {number}")


def recorded(text: str) -> Iterator[Request]:
    """Yield the requests of a HAR, which all go to the service that is examined."""
    try:
        entries = json.loads(text)["log"]["entries"]
        requests = [entry["request"] for entry in entries]
        read = [from_har(request) for request in requests]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("neither lines nor a HAR") from None
    for number, request in enumerate(read, 1):
        yield checked(request, f"entry {number}")


def from_har(request: Any) -> Request:
    """Return what a HAR says of one request."""
    parts = urlsplit(request["url"])
    target = (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
    fields = ((field["name"], field["value"]) for field in request.get("headers", ()))
    kept = tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in OURS and not name.startswith(":")
    )
    body = (request.get("postData") or {}).get("text") or ""
    texts = [request["method"], body, *(part for field in kept for part in field)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("no text")
    return Request(request["method"], target, kept, body)


def checked(request: Request, place: str) -> Request:
    """Return a request that HTTP allows.

    Raises:
        ValueError: It does not.
    """
    if not METHOD.fullmatch(request.method):
        raise ValueError(f"{place}: {request.method[:30]!r} is no method")
    if not TARGET.fullmatch(request.target):
        raise ValueError(f"{place}: {request.target[:80]!r} is no path, percent-encoded")
    for name, value in request.headers:
        if not FIELD.fullmatch(name) or not value.isprintable():
            raise ValueError(f"{place}: {name[:30]!r} is no header field")
    return request


def without_values(address: str) -> str:
    """Return an address without who asks and the values of its query: those may be secrets."""
    address = re.sub(r"//[^/?#@]*@", "//…@", address)
    return re.sub(r"([?&][^=&]*=)[^&]+", r"\1…", address)
